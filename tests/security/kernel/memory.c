/* A child writes the runtime's memory, to do as the runtime what it may not do itself, under a policy that has no rules on
   files written (unruled.toml). */
#include "attack.h"

static volatile int word = 1;
static int two = 2;

/* One that may not even without the guard, since only ancestors may (Yama), is no attack here. */
static int restricted(int error) {
    char scope = '0';
    int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY);
    if (fd >= 0 && read(fd, &scope, 1) != 1) scope = '0';
    close(fd);
    return !guarded && scope != '0' && (error == EACCES || error == EPERM) ? ABSENT : error;
}

static int written(int fd) {
    if (fd < 0) return errno;
    return OUTCOME(pwrite(fd, &two, sizeof two, (off_t)(uintptr_t)&word));
}

/* What `how` comes to in a child, and whether its parent's word is another one then. */
static int by_child(int (*how)(void)) {
    word = 1;
    int outcome = in_child(how);
    return word == two ? WORKED : outcome == WORKED ? NOT_SEEN : restricted(outcome);
}

static char path[128], link_path[64];
static const char *of_parent(const char *name) { return snprintf(path, sizeof path, "/proc/%d/%s", getppid(), name), path; }
static int opened(const char *where, int flags) { return (int)syscall(SYS_openat, AT_FDCWD, where, flags); }

static int plain_child(void) { return written(opened(of_parent("mem"), O_RDWR)); }
static int writing_child(void) { return written(opened(of_parent("mem"), O_WRONLY)); }
static int cutting_child(void) { return written(opened(of_parent("mem"), O_WRONLY | O_TRUNC | O_CREAT)); }
static int thread_child(void) {
    snprintf(path, sizeof path, "/proc/%d/task/%d/mem", getppid(), getppid());
    return written(opened(path, O_RDWR));
}
static int root_child(void) {
    snprintf(path, sizeof path, "/proc/self/root/proc/%d/mem", getppid());
    return written(opened(path, O_RDWR));
}
static int folder_child(void) {
    int folder = opened(of_parent(""), O_RDONLY | O_DIRECTORY);
    return folder < 0 ? errno : written((int)syscall(SYS_openat, folder, "mem", O_RDWR));
}
static int pinned_first_child(void) {
    char again[64];
    int pin = opened(of_parent("mem"), O_PATH);
    snprintf(again, sizeof again, "/proc/self/fd/%d", pin);
    return pin < 0 ? errno : written(opened(again, O_RDWR));
}
static int reading_child(void) {
    char again[64];
    int pin = opened(of_parent("mem"), O_RDONLY);
    snprintf(again, sizeof again, "/dev/fd/%d", pin);
    return pin < 0 ? errno : written(opened(again, O_RDWR));
}
static int inside_child(void) { return chdir(of_parent("")) ? errno : written(opened("mem", O_RDWR)); }
static int linked_child(void) {
    snprintf(link_path, sizeof link_path, "/tmp/ringfence-memory-%d", getpid());
    if (symlink(of_parent("mem"), link_path)) return errno;
    int outcome = written(opened(link_path, O_RDWR));
    return unlink(link_path), outcome;
}
static int second_child(void) {
    uint64_t how[3] = {O_RDWR, 0, 0};
    int fd = (int)syscall(437, AT_FDCWD, of_parent("mem"), how, sizeof how);
    return fd < 0 && errno == ENOSYS && !guarded ? ABSENT : written(fd);
}
#ifdef SYS_open
static int old_child(void) { return written((int)syscall(SYS_open, of_parent("mem"), O_RDWR)); }
static int made_child(void) { return written((int)syscall(SYS_creat, of_parent("mem"), 0600)); }
#else
static int old_child(void) { return ABSENT; }
static int made_child(void) { return ABSENT; }
#endif

/* The path is a harmless one when it is looked at. */
static char flipping[64];
static volatile int over;
static void *flip(void *unused) {
    char memory[64];
    snprintf(memory, sizeof memory, "/proc/%d/mem", getppid());
    while (!over) {
        memcpy(flipping, "/dev/zero\0", 10);
        memcpy(flipping, memory, sizeof memory);
    }
    return unused;
}
static int flipped_child(void) {
    pthread_t id;
    int outcome = NOT_SEEN;
    double end = now() + 60;
    pthread_create(&id, 0, flip, 0);
    for (int i = 0; outcome != WORKED && (guarded ? i < tries : now() < end); i++) {
        struct stat status;
        int fd = opened(flipping, O_WRONLY);
        if (fd < 0) outcome = errno;
        else if (!fstat(fd, &status) && !S_ISCHR(status.st_mode)) outcome = written(fd);
        close(fd);
    }
    over = 1;
    pthread_join(id, 0);
    return outcome;
}

#define BY_CHILD(name) static int name(void) { return by_child(name##_child); }
BY_CHILD(plain)
BY_CHILD(writing)
BY_CHILD(cutting)
BY_CHILD(thread)
BY_CHILD(root)
BY_CHILD(folder)
BY_CHILD(pinned_first)
BY_CHILD(reading)
BY_CHILD(inside)
BY_CHILD(linked)
BY_CHILD(second)
BY_CHILD(old)
BY_CHILD(made)
BY_CHILD(flipped)

const struct attack memories[] = {
    {"memory-of-parent", plain, PLAIN}, {"memory-for-writing", writing, PLAIN}, {"memory-cut", cutting, PLAIN},
    {"memory-of-thread", thread, PLAIN}, {"memory-by-root", root, PLAIN}, {"memory-at-folder", folder, PLAIN},
    {"memory-pinned", pinned_first, PLAIN}, {"memory-read-first", reading, PLAIN}, {"memory-relative", inside, PLAIN},
    {"memory-by-link", linked, PLAIN}, {"memory-openat2", second, PLAIN}, {"memory-open", old, PLAIN},
    {"memory-creat", made, PLAIN}, {"race-memory", flipped, RACE},
    {0},
};
