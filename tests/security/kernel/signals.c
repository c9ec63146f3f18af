/* Attacks on the life of the guard (the parent; without it an ordinary parent), and on the runtime by its children. */
#include "attack.h"

static pid_t victim(void) { return getppid(); }

static char state_of(pid_t process) {
    char path[64], line[256] = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    int fd = open(path, O_RDONLY);
    ssize_t length = read(fd, line, sizeof line - 1);
    close(fd);
    char *end = length > 0 ? strrchr(line, ')') : 0;
    return end ? end[2] : 0;
}
/* The parent is gone, or stands still. */
static int struck(long result) {
    int error = errno;
    pid_t before = victim();
    /* A busy machine may take its time to stop it. */
    for (int i = 0; i < (guarded ? 20 : 1000); i++) {
        if (getppid() != before) return WORKED;
        char state = state_of(before);
        if (state == 'T' || state == 'Z' || !state) return kill(before, SIGCONT), WORKED;
        usleep(2000);
    }
    return result < 0 ? error : NOT_SEEN;
}
static pid_t before;
static int gone(long result) {
    int error = errno;
    /* A busy machine may take its time to end it. */
    for (int i = 0; i < (guarded ? 25 : 1000); i++, usleep(2000))
        if (getppid() != before) return WORKED;
    return result < 0 ? error : NOT_SEEN;
}
#define ON_LIFE(name, call) static int name(void) { before = victim(); return gone(call); }
static siginfo_t info = {.si_code = SI_QUEUE};
static struct rlimit zero;
ON_LIFE(kill_guard, kill(before, SIGKILL))
ON_LIFE(kill_wide, syscall(SYS_kill, 0x100000000ul | (unsigned)before, SIGKILL))
ON_LIFE(tkill_guard, syscall(SYS_tkill, before, SIGKILL))
ON_LIFE(tgkill_guard, syscall(SYS_tgkill, before, before, SIGKILL))
ON_LIFE(queue_guard, syscall(SYS_rt_sigqueueinfo, before, SIGKILL, &info))
ON_LIFE(queue_thread, syscall(SYS_rt_tgsigqueueinfo, before, before, SIGKILL, &info))
static int stop_guard(void) { return struck(kill(victim(), SIGSTOP)); }
static int stop_by_tkill(void) { return struck(syscall(SYS_tkill, victim(), SIGSTOP)); }

static int kill_as_child(void) { before = victim(); return 0; }
static pid_t target;
static int child_kills(void) { return OUTCOME(kill(target, SIGKILL)); }
static int kill_from_child(void) { target = before = victim(); int outcome = in_child(child_kills); int seen = gone(0); return seen == WORKED ? WORKED : outcome; }

static int kill_everybody(void) { return OUTCOME(kill(-1, SIGURG)); }
static int kill_group(void) { (void)kill_as_child; return getpgid(victim()) != getpgrp() ? ABSENT : OUTCOME(kill(0, SIGURG)); }
static int kill_group_by_number(void) { return OUTCOME(kill(-getpgid(victim()), SIGURG)); }
static int by_pidfd(void) {
    int fd = (int)syscall(434, victim(), 0);
    return fd < 0 ? (guarded ? errno : ABSENT) : OUTCOME(syscall(424, fd, SIGSTOP, 0, 0)) == WORKED ? struck(0) : errno;
}
static int by_proc_descriptor(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", victim());
    int fd = open(path, O_DIRECTORY);
    return OUTCOME(syscall(424, fd, SIGSTOP, 0, 0)) == WORKED ? struck(0) : errno;
}
static int owned(int command, long value) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return errno;
    before = victim();
    if (syscall(SYS_fcntl, pair[0], command, value)) return errno;
    if (syscall(SYS_fcntl, pair[0], 10, SIGKILL)) return errno;
    if (fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK)) return errno;
    return write(pair[1], "x", 1) == 1 ? gone(0) : errno;
}
static int set_owner(void) { return owned(8, victim()); }
static int set_owner_wide(void) { return owned((int)8, (long)(0x100000000ul | (unsigned)victim())); }
static int set_owner_extended(void) {
    struct { int type, pid; } owner = {1, victim()};
    return owned(15, (long)&owner);
}
static int set_signal(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return errno;
    return OUTCOME(fcntl(pair[0], 10, SIGKILL));
}
static int owner_by_ioctl(unsigned long request) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), owner = victim();
    return OUTCOME(syscall(SYS_ioctl, fd, request, &owner));
}
static int fiosetown(void) { return owner_by_ioctl(0x8901); }
static int siocspgrp(void) { return owner_by_ioctl(0x8902); }
static int siocspgrp_wide(void) { return owner_by_ioctl(0xffffffff00008902); }

static int limit_cpu(void) { return OUTCOME(syscall(SYS_prlimit64, victim(), RLIMIT_CPU, &zero, 0)); }
static int limit_files(void) { return OUTCOME(syscall(SYS_prlimit64, victim(), RLIMIT_NOFILE, &zero, 0)); }
static int limit_memory(void) { return OUTCOME(syscall(SYS_prlimit64, victim(), RLIMIT_AS, &zero, 0)); }
static int affinity(void) {
    unsigned long mask = 1;
    return OUTCOME(syscall(SYS_sched_setaffinity, victim(), sizeof mask, &mask));
}
static int parameter;
static int scheduler(void) { return OUTCOME(syscall(SYS_sched_setscheduler, victim(), 5, &parameter)); }
static int parameters(void) { return OUTCOME(syscall(SYS_sched_setparam, victim(), &parameter)); }
static int attributes(void) {
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t times[3]; } wanted = {48, 5, 0, 0, 0, {0}};
    return OUTCOME(syscall(SYS_sched_setattr, victim(), &wanted, 0));
}
static int nice_guard(void) { return OUTCOME(syscall(SYS_setpriority, 0, victim(), 19)); }
static int nice_group(void) { return OUTCOME(syscall(SYS_setpriority, 1, getpgid(victim()), 19)); }
static int nice_user(void) { return OUTCOME(syscall(SYS_setpriority, 2, getuid(), 19)); }
static int io_guard(void) { return OUTCOME(syscall(SYS_ioprio_set, 1, victim(), 3 << 13)); }
static int io_group(void) { return OUTCOME(syscall(SYS_ioprio_set, 2, getpgid(victim()), 3 << 13)); }

/* The signal at a child's end goes to the parent of the one that clones with CLONE_PARENT. */
static int end_signal(void) {
    before = victim();
    long child = syscall(SYS_clone, CLONE_PARENT | SIGKILL, 0, 0, 0, 0);
    if (!child) _exit(0);
    return child < 0 ? errno : gone(0) == WORKED ? WORKED : guarded ? NOT_SEEN : ABSENT;
}

static int runtime;
static int group_kill(void) { return OUTCOME(kill(-runtime, SIGURG)); }
static int runtimes_group(void) {
    setpgid(0, 0);
    runtime = getpid();
    return in_child(group_kill);
}
static int signal_runtime(void) { return OUTCOME(kill(runtime, SIGURG)); }
static int tgkill_runtime(void) { return OUTCOME(syscall(SYS_tgkill, runtime, runtime, SIGCONT)); }
static int limit_runtime(void) {
    struct rlimit limit = {1 << 20, 1 << 20};
    return OUTCOME(syscall(SYS_prlimit64, runtime, RLIMIT_FSIZE, &limit, 0));
}
static int nice_runtime(void) { return OUTCOME(syscall(SYS_setpriority, 0, runtime, 19)); }
#define OF_RUNTIME(name, attack) static int name(void) { runtime = getpid(); return in_child(attack); }
OF_RUNTIME(child_signals_runtime, signal_runtime)
OF_RUNTIME(child_tgkills_runtime, tgkill_runtime)
OF_RUNTIME(child_limits_runtime, limit_runtime)
OF_RUNTIME(child_nices_runtime, nice_runtime)

const struct attack signals[] = {
    {"kill-guard", kill_guard, PLAIN}, {"kill-guard-wide-word", kill_wide, PLAIN}, {"tkill-guard", tkill_guard, PLAIN},
    {"tgkill-guard", tgkill_guard, PLAIN}, {"queue-signal-to-guard", queue_guard, PLAIN},
    {"queue-signal-to-thread-of-guard", queue_thread, PLAIN}, {"kill-guard-by-child", kill_from_child, PLAIN},
    {"stop-guard", stop_guard, PLAIN}, {"stop-guard-by-tkill", stop_by_tkill, PLAIN}, {"kill-everybody", kill_everybody, PLAIN},
    {"kill-own-group", kill_group, PLAIN}, {"kill-group-by-number", kill_group_by_number, PLAIN}, {"pidfd-signal", by_pidfd, PLAIN},
    {"pidfd-signal-by-proc", by_proc_descriptor, PLAIN}, {"f-setown", set_owner, PLAIN}, {"f-setown-wide-word", set_owner_wide, PLAIN},
    {"f-setown-ex", set_owner_extended, PLAIN}, {"f-setsig", set_signal, PLAIN}, {"fiosetown", fiosetown, PLAIN},
    {"siocspgrp", siocspgrp, PLAIN}, {"siocspgrp-wide-word", siocspgrp_wide, PLAIN}, {"limit-cpu-of-guard", limit_cpu, PLAIN},
    {"limit-files-of-guard", limit_files, PLAIN}, {"limit-memory-of-guard", limit_memory, PLAIN}, {"affinity-of-guard", affinity, PLAIN},
    {"scheduler-of-guard", scheduler, PLAIN}, {"scheduler-parameters-of-guard", parameters, PLAIN},
    {"scheduler-attributes-of-guard", attributes, PLAIN}, {"nice-guard", nice_guard, PLAIN}, {"nice-group", nice_group, PLAIN},
    {"nice-user", nice_user, PLAIN}, {"io-priority-of-guard", io_guard, PLAIN}, {"io-priority-of-group", io_group, PLAIN},
    {"end-signal-to-guard", end_signal, PLAIN}, {"child-signals-runtimes-group", runtimes_group, PLAIN},
    {"child-signals-runtime", child_signals_runtime, PLAIN}, {"child-tgkills-runtime", child_tgkills_runtime, PLAIN},
    {"child-limits-runtime", child_limits_runtime, PLAIN}, {"child-nices-runtime", child_nices_runtime, PLAIN},
    {0},
};
