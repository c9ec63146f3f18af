/* What the function may see of the guard and of other processes, and filters of its own. */
#include "attack.h"
#include <linux/filter.h>

static char path[128];
static char *of_guard(const char *name) {
    snprintf(path, sizeof path, "/proc/%d/%s", getppid(), name);
    return path;
}
static int readable(const char *name) {
    char byte;
    int fd = open(of_guard(name), O_RDONLY);
    return fd < 0 ? errno : OUTCOME(read(fd, &byte, 1));
}
static int followed(const char *name) { return OUTCOME(readlink(of_guard(name), path, sizeof path)); }
#define READS(name, file) static int name(void) { return readable(file); }
#define FOLLOWS(name, file) static int name(void) { return followed(file); }
READS(environment, "environ")
READS(memory_map, "maps")
READS(vector, "auxv")
READS(in_and_out, "io")
READS(system_call, "syscall")
FOLLOWS(executable, "exe")
FOLLOWS(root, "root")
FOLLOWS(directory, "cwd")
static int page_map(void) { return OUTCOME(open(of_guard("pagemap"), O_RDONLY)); }
static int memory(void) { return OUTCOME(open(of_guard("mem"), O_RDWR)); }
static int memory_by_thread(void) {
    snprintf(path, sizeof path, "/proc/%d/task/%d/mem", getppid(), getppid());
    return OUTCOME(open(path, O_RDWR));
}
static int descriptors(void) { return OUTCOME(open(of_guard("fd"), O_RDONLY | O_DIRECTORY)); }
static int descriptor(void) { return OUTCOME(open(of_guard("fd/0"), O_RDONLY)); }
static int writes(const char *name, const char *text) {
    int fd = open(of_guard(name), O_WRONLY);
    return fd < 0 ? errno : OUTCOME(write(fd, text, strlen(text)));
}
static int badness(void) { return writes("oom_score_adj", "1000"); }
static int name_of(void) { int outcome = writes("comm", "x"); return outcome == EINVAL && !guarded ? ABSENT : outcome; }
static int slack(void) { int outcome = writes("timerslack_ns", "1000000000"); return outcome == EPERM && !guarded ? ABSENT : outcome; }

static char word[8];
static struct iovec piece = {word, 8};
static int child(void) { pid_t one = fork(); if (!one) { pause(); _exit(0); } return one; }
static int ended(pid_t one, int outcome) { return kill(one, SIGKILL), waitpid(one, 0, 0), outcome; }
static int read_child(void) { pid_t one = child(); return ended(one, OUTCOME(syscall(SYS_process_vm_readv, one, &piece, 1, &piece, 1, 0))); }
static int write_child(void) { pid_t one = child(); return ended(one, OUTCOME(syscall(SYS_process_vm_writev, one, &piece, 1, &piece, 1, 0))); }
static int read_guard(void) { return OUTCOME(syscall(SYS_process_vm_readv, getppid(), &piece, 1, &piece, 1, 0)) == EFAULT ? WORKED : errno; }
static int trace_child(void) { pid_t one = child(); return ended(one, OUTCOME(syscall(SYS_ptrace, 0x4206, one, 0, 0))); }
static int trace_me(void) { return OUTCOME(syscall(SYS_ptrace, 0, 0, 0, 0)); }
static int compare(void) { pid_t one = child(); return ended(one, OUTCOME(syscall(SYS_kcmp, getpid(), one, 1, 0, 0))); }
static int fetch(void) {
    pid_t one = child();
    int fd = (int)syscall(434, one, 0);
    return ended(one, fd < 0 ? (guarded ? errno : ABSENT) : OUTCOME(syscall(438, fd, 0, 0)));
}
static int fault(void) { long fd = syscall(SYS_userfaultfd, 1); return fd < 0 && !guarded ? ABSENT : OUTCOME(fd); }
static int ring(void) { char room[256] = {0}; long fd = syscall(425, 1, room); return fd < 0 && !guarded ? ABSENT : OUTCOME(fd); }
static int keys(void) { long key = syscall(SYS_add_key, "user", "x", "x", 1, -3); return key < 0 && !guarded ? ABSENT : OUTCOME(key); }
static int events(void) {
    char room[128] = {1, 0, 0, 0, 112};
    long fd = syscall(SYS_perf_event_open, room, 0, -1, -1, 0);
    return fd < 0 && !guarded ? ABSENT : OUTCOME(fd);
}
static int move(void) { void *page = word; int status, node = 0; return OUTCOME(syscall(SYS_move_pages, 0, 1, &page, &node, &status, 0)) ; }
static int tracer(void) { int done = prctl(0x59616d61, -1L); return done < 0 && !guarded ? ABSENT : OUTCOME(done); }
static int dispatch(void) { int done = prctl(59, 1, 0, 0, word); return done < 0 && !guarded ? ABSENT : OUTCOME(done); }

static long filter(unsigned operation, unsigned long with, unsigned answer) {
    struct sock_filter code[] = {{0x06, 0, 0, answer}};
    struct sock_fprog program = {1, code};
    return syscall(SYS_seccomp, operation, with, &program);
}
enum { ALLOW = 0x7fff0000 };
static int listener(void) { return OUTCOME(filter(1, 8, ALLOW)); }
static int listener_wide(void) { return OUTCOME(syscall(SYS_seccomp, 0x100000001ul, 0x100000008ul, &(struct sock_fprog){1, (struct sock_filter[]){{6, 0, 0, ALLOW}}})); }
static int listener_child(void) { return in_child(listener); }
static int listener_sync(void) { return OUTCOME(filter(1, 8 | 1 | 16, ALLOW)); }
static int sync_only(void) { return OUTCOME(filter(1, 1, ALLOW)); }
static int plain_filter(void) { return OUTCOME(filter(1, 0, ALLOW)); }
static int by_prctl(void) {
    struct sock_filter code[] = {{0x06, 0, 0, ALLOW}};
    struct sock_fprog program = {1, code};
    return OUTCOME(prctl(PR_SET_SECCOMP, 2, &program));
}
static int strict_once(void) { return OUTCOME(syscall(SYS_seccomp, 0, 0, 0)); }
static int strict_mode(void) {
    /* The outcome could not be told afterwards: only exit, read and write remain. */
    pid_t one = fork();
    if (!one) { int outcome = strict_once(); syscall(SYS_exit, outcome); }
    int status;
    waitpid(one, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : NOT_SEEN;
}
/* A child may restrict itself; that must not let through what the guard forbids. */
static int port, at;
static int reach(void) {
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0, (void *)&to, sizeof to), arrived(at, SOCK_DGRAM);
}
static int own_then_reach(unsigned answer) {
    struct sock_filter code[] = {{0x20, 0, 0, 0}, {0x15, 0, 1, SYS_sendto}, {0x06, 0, 0, answer}, {0x06, 0, 0, ALLOW}};
    struct sock_fprog program = {4, code};
    syscall(SYS_seccomp, 1, 0, &program);
    return reach();
}
static int own_trace(void) { return own_then_reach(0x7ff00000); }
static int own_notify(void) { return own_then_reach(0x7fc00000); }
static int own_log(void) { return own_then_reach(0x7ffc0000); }
static int own_filter(int (*run)(void)) { port = 0; at = receiver(SOCK_DGRAM, FORBIDDEN, &port); return in_child(run); }
static int child_traces(void) { int outcome = own_filter(own_trace); return outcome != WORKED && !guarded ? ABSENT : outcome; }
static int child_notifies(void) { int outcome = own_filter(own_notify); return outcome != WORKED && !guarded ? ABSENT : outcome; }
static int child_logs(void) { return own_filter(own_log); }

/* The listener's descriptor, were it left anywhere. Without the guard one is made to show that it would be found. */
static int listener_left(void) {
    if (!guarded && filter(1, 8, ALLOW) < 0) return ABSENT;
    for (int fd = 0; fd < 4096; fd++) {
        char link[64], to[128] = {0};
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (readlink(link, to, sizeof to - 1) > 0 && strstr(to, "seccomp")) return WORKED;
    }
    return NOT_SEEN;
}
/* The policy that the process plane reads, and the page that says who runs. */
static int pages(int with) {
    char *fds = getenv("RINGFENCE_FDS"), link[64];
    int handoff = -1, state = -1, fd = memfd_create("x", 2);
    if (fds) sscanf(fds, "%d,%d", &handoff, &state);
    fd = !guarded ? fd : with ? state : handoff;
    if (fd < 0) return ABSENT;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int again = open(link, O_RDWR);
    if (again < 0) again = fd;
    return OUTCOME(pwrite(again, "x", 1, 0));
}
static int write_policy(void) { return pages(0); }
static int shrink_policy(void) {
    char *fds = getenv("RINGFENCE_FDS");
    int fd = !guarded ? memfd_create("x", 2) : fds ? atoi(fds) : -1;
    return fd < 0 ? ABSENT : OUTCOME(ftruncate(fd, 0));
}

const struct attack others[] = {
    {"guard-environ", environment, PLAIN}, {"guard-maps", memory_map, PLAIN}, {"guard-auxv", vector, PLAIN},
    {"guard-io", in_and_out, PLAIN}, {"guard-syscall", system_call, PLAIN}, {"guard-pagemap", page_map, PLAIN},
    {"guard-exe", executable, PLAIN}, {"guard-root", root, PLAIN}, {"guard-cwd", directory, PLAIN}, {"guard-mem", memory, PLAIN},
    {"guard-mem-by-thread", memory_by_thread, PLAIN}, {"guard-descriptors", descriptors, PLAIN},
    {"guard-descriptor", descriptor, PLAIN}, {"guard-oom-score", badness, PLAIN}, {"guard-name", name_of, PLAIN},
    {"guard-timer-slack", slack, PLAIN}, {"read-memory-of-guard", read_guard, PLAIN}, {"read-memory-of-child", read_child, PLAIN},
    {"write-memory-of-child", write_child, PLAIN}, {"trace-child", trace_child, PLAIN}, {"trace-me", trace_me, PLAIN},
    {"compare-descriptors", compare, PLAIN}, {"fetch-descriptor", fetch, PLAIN}, {"userfaultfd", fault, PLAIN},
    {"io-uring", ring, PLAIN}, {"add-key", keys, PLAIN}, {"perf-event", events, PLAIN}, {"move-pages", move, PLAIN},
    {"set-tracer", tracer, PLAIN}, {"syscall-dispatch", dispatch, PLAIN}, {"own-listener", listener, PLAIN},
    {"own-listener-wide-words", listener_wide, PLAIN}, {"own-listener-of-child", listener_child, PLAIN},
    {"own-listener-for-all-threads", listener_sync, PLAIN}, {"own-filter-for-all-threads", sync_only, PLAIN},
    {"own-filter", plain_filter, PLAIN}, {"own-filter-by-prctl", by_prctl, PLAIN}, {"own-strict-mode", strict_mode, PLAIN},
    {"childs-filter-traces", child_traces, PLAIN}, {"childs-filter-notifies", child_notifies, PLAIN},
    {"childs-filter-logs", child_logs, PLAIN}, {"listener-left-open", listener_left, PLAIN},
    {"write-policy", write_policy, PLAIN}, {"shrink-policy", shrink_policy, PLAIN},
    {0},
};
