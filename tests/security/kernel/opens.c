/* Ways to write where the policy forbids it: the platform lays a folder that no rule lets anybody write
   (RINGFENCE_DENIED), with a file "kept" that says "kept" and an empty folder "sub". Worked: one of them changed, or
   something is in there that was not. */
#include "attack.h"
#include <dirent.h>

#ifndef O_TMPFILE
#define O_TMPFILE (020000000 | O_DIRECTORY)
#endif
struct how { uint64_t flags, mode, resolve; };

static const char *denied(const char *name) {
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    const char *folder = getenv("RINGFENCE_DENIED");
    snprintf(path, sizeof paths[0], "%s%s%s", folder ? folder : "/nowhere", *name ? "/" : "", name);
    return path;
}
static const char *own(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    const char *number = strrchr(denied(""), '-');
    snprintf(path, sizeof paths[0], "/tmp/ringfence-open%s%s%s", number ? number : "", *name ? "/" : "", name);
    return path;
}
static int changed(void) {
    char text[8] = {0};
    int fd = open(denied("kept"), O_RDONLY), entries = 0;
    ssize_t length = read(fd, text, sizeof text);
    close(fd);
    DIR *folder = opendir(denied(""));
    while (folder && readdir(folder)) entries++;
    if (folder) closedir(folder);
    return fd < 0 || length != 4 || memcmp(text, "kept", 4) || entries != 4;
}
static void base(void) { mkdir(own(""), 0700); }
static int gone(int outcome) {
    char command[280];
    static const char *const names[] = {"link", "file", "other", "a", "b", "c", "new"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(command, sizeof command, "%s", own(names[i]));
        if (unlink(command)) rmdir(command);
    }
    rmdir(own(""));
    return outcome;
}
/* The outcome of a call: not what it says but what it did. */
static int seen(long result) {
    int error = result < 0 ? errno : NOT_SEEN;
    return gone(changed() ? WORKED : error);
}
static int written(long fd) {
    int error = errno;
    if (fd < 0) return errno = error, seen(-1);
    if (write((int)fd, "bad!", 4) != 4) return errno = EIO, seen(-1);
    close((int)fd);
    return seen(0);
}
#define OPEN(name, ...) static int name(void) { return written(syscall(__VA_ARGS__)); }
OPEN(plain, SYS_openat, AT_FDCWD, denied("kept"), O_WRONLY)
OPEN(both, SYS_openat, AT_FDCWD, denied("kept"), O_RDWR)
OPEN(appended, SYS_openat, AT_FDCWD, denied("kept"), O_WRONLY | O_APPEND)
OPEN(wide_flags, SYS_openat, AT_FDCWD, denied("kept"), 1ul << 32 | O_WRONLY)
OPEN(wide_directory, SYS_openat, 1ul << 32 | 0xffffff9c, denied("kept"), O_WRONLY)
OPEN(made, SYS_openat, AT_FDCWD, denied("new"), O_WRONLY | O_CREAT, 0600)
OPEN(made_alone, SYS_openat, AT_FDCWD, denied("new"), O_RDWR | O_CREAT | O_EXCL, 0600)
OPEN(made_below, SYS_openat, AT_FDCWD, denied("sub/../new"), O_WRONLY | O_CREAT, 0600)
static int cut(void) { return seen(syscall(SYS_openat, AT_FDCWD, denied("kept"), O_RDONLY | O_TRUNC)); }
static int made_for_reading(void) { return seen(syscall(SYS_openat, AT_FDCWD, denied("new"), O_RDONLY | O_CREAT, 0600)); }
#ifdef SYS_open
OPEN(old, SYS_open, denied("kept"), O_WRONLY)
OPEN(old_creat, SYS_creat, denied("kept"), 0600)
#else
static int old(void) { return ABSENT; }
static int old_creat(void) { return ABSENT; }
#endif
static long open_how(int directory, const char *path, uint64_t flags, uint64_t resolve) {
    struct how how = {flags, 0, resolve};
    return syscall(437, directory, path, &how, sizeof how);
}
static int second(void) {
    long fd = open_how(AT_FDCWD, denied("kept"), O_WRONLY, 0);
    return fd < 0 && errno == ENOSYS && !guarded ? ABSENT : written(fd);
}
static int second_beneath(void) {
    long fd = open_how(open(denied(""), O_PATH), "kept", O_WRONLY, 8);
    return fd < 0 && errno == ENOSYS && !guarded ? ABSENT : written(fd);
}
static int by_length(void) { return seen(syscall(SYS_truncate, denied("kept"), 1l)); }

OPEN(at_folder, SYS_openat, open(denied(""), O_RDONLY | O_DIRECTORY), "kept", O_WRONLY)
OPEN(at_pinned, SYS_openat, open(denied("sub"), O_PATH), "../kept", O_WRONLY)
static int relative(void) { return chdir(denied("")) ? errno : written(syscall(SYS_openat, AT_FDCWD, "kept", O_WRONLY)); }
static int by_fchdir(void) { return fchdir(open(denied(""), O_PATH)) ? errno : written(syscall(SYS_openat, AT_FDCWD, "./kept", O_WRONLY)); }
static void *moves(void *result) {
    *(long *)result = unshare(CLONE_FS) || chdir(denied("")) ? -1 : syscall(SYS_openat, AT_FDCWD, "kept", O_WRONLY);
    errno = *(long *)result < 0 ? errno : 0;
    return 0;
}
static int of_thread(void) {
    pthread_t id;
    long result = -1;
    pthread_create(&id, 0, moves, &result);
    pthread_join(id, 0);
    errno = EACCES;
    return written(result);
}
static int through(const char *prefix) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", prefix, denied("kept"));
    return written(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY));
}
static int by_dots(void) { return through("/tmp/../usr/../.."); }
static int by_slashes(void) { return through("//././/"); }
static int by_root(void) { return through("/proc/self/root"); }
static int by_thread_root(void) { return through("/proc/thread-self/root/"); }
static int by_init(void) { return through("/proc/self/task/../root"); }
static int by_parent_root(void) {
    char prefix[64];
    int pipes[2];
    if (pipe(pipes)) return errno;
    pid_t child = fork();
    if (!child) {
        snprintf(prefix, sizeof prefix, "/proc/%d/root", getppid());
        int outcome = through(prefix);
        _exit(write(pipes[1], &outcome, sizeof outcome) != sizeof outcome);
    }
    int outcome = NOT_SEEN;
    if (read(pipes[0], &outcome, sizeof outcome) != sizeof outcome) outcome = NOT_SEEN;
    waitpid(child, 0, 0);
    return outcome;
}
static int by_cwd(void) { return chdir(denied("")) ? errno : written(syscall(SYS_openat, AT_FDCWD, "/proc/self/cwd/kept", O_WRONLY)); }
static int numbered(const char *prefix, int fd) {
    char path[64];
    snprintf(path, sizeof path, "%s/%d", prefix, fd);
    return written(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY));
}
static int again(void) { return numbered("/proc/self/fd", open(denied("kept"), O_RDONLY)); }
static int again_pinned(void) { return numbered("/proc/self/fd", open(denied("kept"), O_PATH)); }
static int again_dev(void) { return access("/dev/fd", F_OK) ? ABSENT : numbered("/dev/fd", open(denied("kept"), O_RDONLY)); }
static int again_thread(void) { return numbered("/proc/thread-self/fd", open(denied("kept"), O_RDONLY)); }
static int again_of_parent(void) {
    char path[64];
    int fd = open(denied("kept"), O_RDONLY), status;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", getpid(), fd);
    pid_t child = fork();
    if (!child) {
        close(fd);
        int to = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY);
        _exit(to < 0 ? errno : write(to, "bad!", 4) != 4);
    }
    waitpid(child, &status, 0);
    errno = WEXITSTATUS(status);
    return seen(errno ? -1 : 0);
}
static int again_at(void) {
    char name[16];
    snprintf(name, sizeof name, "%d", open(denied("kept"), O_RDONLY));
    return written(syscall(SYS_openat, open("/proc/self/fd", O_PATH), name, O_WRONLY));
}

static int by_link(const char *text, const char *rest, int flags) {
    base();
    char path[300];
    if (symlink(text, own("link"))) return errno;
    snprintf(path, sizeof path, "%s%s", own("link"), rest);
    return written(syscall(SYS_openat, AT_FDCWD, path, flags, 0600));
}
static int linked(void) { return by_link(denied("kept"), "", O_WRONLY); }
static int linked_folder(void) { return by_link(denied(""), "/kept", O_WRONLY); }
static int linked_dangling(void) { return by_link(denied("new"), "", O_WRONLY | O_CREAT); }
static int linked_proc(void) { char text[64]; snprintf(text, sizeof text, "/proc/self/fd/%d", open(denied("kept"), O_RDONLY)); return by_link(text, "", O_WRONLY); }
static int linked_often(void) {
    base();
    if (symlink(denied(""), own("a")) || symlink("a/.", own("b")) || symlink(own("b/../../"), own("c"))) return errno;
    char path[600];
    snprintf(path, sizeof path, "%s%s", own("c"), denied("kept"));
    return written(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY));
}
static int hard(void) {
    base();
    if (syscall(SYS_linkat, AT_FDCWD, denied("kept"), AT_FDCWD, own("file"), 0)) return seen(-1);
    return written(open(own("file"), O_WRONLY));
}
static int hard_followed(void) {
    base();
    if (symlink(denied("kept"), own("link"))) return errno;
    if (syscall(SYS_linkat, AT_FDCWD, own("link"), AT_FDCWD, own("file"), AT_SYMLINK_FOLLOW)) return seen(-1);
    return written(open(own("file"), O_WRONLY));
}
static int hard_by_number(void) {
    char path[64];
    base();
    snprintf(path, sizeof path, "/proc/self/fd/%d", open(denied("kept"), O_RDONLY));
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, own("file"), AT_SYMLINK_FOLLOW)) return seen(-1);
    return written(open(own("file"), O_WRONLY));
}
static int file_of_own(void) {
    base();
    int fd = open(own("file"), O_WRONLY | O_CREAT, 0600);
    return fd < 0 || write(fd, "bad!", 4) != 4 || close(fd) ? errno : 0;
}
#define INTO(name, ...) static int name(void) { return file_of_own() ? errno : seen(syscall(__VA_ARGS__)); }
INTO(hard_into, SYS_linkat, AT_FDCWD, own("file"), AT_FDCWD, denied("new"), 0)
INTO(hard_into_at, SYS_linkat, AT_FDCWD, own("file"), open(denied("sub"), O_PATH), "../new", 0)
INTO(moved_into, SYS_renameat2, AT_FDCWD, own("file"), AT_FDCWD, denied("new"), 0)
INTO(moved_over, SYS_renameat2, AT_FDCWD, own("file"), AT_FDCWD, denied("kept"), 0)
INTO(moved_over_at, SYS_renameat2, AT_FDCWD, own("file"), open(denied(""), O_PATH), "kept", 0)
INTO(exchanged, SYS_renameat2, AT_FDCWD, own("file"), AT_FDCWD, denied("kept"), 2)
INTO(exchanged_back, SYS_renameat2, AT_FDCWD, denied("kept"), AT_FDCWD, own("file"), 2)
INTO(moved_away, SYS_renameat2, AT_FDCWD, denied("kept"), AT_FDCWD, own("new"), 0)
INTO(folder_moved, SYS_renameat2, AT_FDCWD, denied(""), AT_FDCWD, own("new"), 0)
INTO(symbolic_into, SYS_symlinkat, own("file"), AT_FDCWD, denied("new"))
INTO(removed, SYS_unlinkat, AT_FDCWD, denied("kept"), 0)
INTO(removed_at, SYS_unlinkat, open(denied("sub"), O_PATH), "../kept", 0)
INTO(folder_removed, SYS_unlinkat, AT_FDCWD, denied("sub"), AT_REMOVEDIR)
INTO(folder_made, SYS_mkdirat, AT_FDCWD, denied("new"), 0700)
INTO(node_made, SYS_mknodat, AT_FDCWD, denied("new"), S_IFREG | 0600, 0)
INTO(fifo_made, SYS_mknodat, AT_FDCWD, denied("new"), S_IFIFO | 0600, 0)
INTO(old_renameat, SYS_renameat, AT_FDCWD, own("file"), AT_FDCWD, denied("kept"))
/* Calls without a directory, which newer architectures do not have. */
#ifdef SYS_rename
#define OLD INTO
#else
#define OLD(name, ...) static int name(void) { return ABSENT; }
#endif
OLD(old_rename, SYS_rename, own("file"), denied("kept"))
OLD(old_link, SYS_link, own("file"), denied("new"))
OLD(old_symlink, SYS_symlink, "x", denied("new"))
OLD(old_unlink, SYS_unlink, denied("kept"))
OLD(old_rmdir, SYS_rmdir, denied("sub"))
OLD(old_mkdir, SYS_mkdir, denied("new"), 0700)
OLD(old_mknod, SYS_mknod, denied("new"), S_IFREG | 0600, 0)

static int unnamed(int in_denied, int flags) {
    char path[64];
    base();
    int fd = (int)syscall(SYS_openat, AT_FDCWD, in_denied ? denied("") : own(""), O_TMPFILE | O_RDWR, 0600);
    if (fd < 0) return errno == EOPNOTSUPP ? ABSENT : seen(-1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (flags == AT_EMPTY_PATH) return seen(syscall(SYS_linkat, fd, "", AT_FDCWD, denied("new"), flags));
    return seen(syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, denied("new"), flags));
}
static int unnamed_there(void) { return unnamed(1, AT_SYMLINK_FOLLOW); }
static int unnamed_elsewhere(void) { return unnamed(0, AT_SYMLINK_FOLLOW); }
static int unnamed_by_number(void) {
    int outcome = unnamed(0, AT_EMPTY_PATH);
    return outcome == ENOENT && !guarded ? ABSENT : outcome; /* wants a capability before Linux 6.10 */
}
/* Another process's memory: the guard, its ancestor, may write it where the caller may not. */
static int memory_of(pid_t whose) {
    static volatile int word = 1;
    char path[64];
    int two = 2;
    snprintf(path, sizeof path, "/proc/%d/mem", whose);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR);
    if (fd < 0) return errno;
    return OUTCOME(pwrite(fd, &two, sizeof two, (off_t)(uintptr_t)&word));
}
static int own_memory(void) { return memory_of(getpid()); }
static int child_memory(void) {
    pid_t child = fork();
    if (!child) { pause(); _exit(0); }
    int outcome = memory_of(child);
    return kill(child, SIGKILL), waitpid(child, 0, 0), outcome;
}
/* What is the guard's, opened by the guard for another. */
static int of_guard(const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", getppid(), name);
    return OUTCOME(syscall(SYS_openat, AT_FDCWD, path, flags));
}
static int guard_descriptors(void) {
    char name[32];
    int outcome = NOT_SEEN;
    for (int fd = 0; fd < 1024; fd++) {
        snprintf(name, sizeof name, "fd/%d", fd);
        outcome = of_guard(name, O_RDWR | O_NONBLOCK);
        if (!outcome) return WORKED;
        snprintf(name, sizeof name, "task/%d/fd/%d", getppid(), fd);
        if (!of_guard(name, O_WRONLY | O_NONBLOCK)) return WORKED;
    }
    return outcome;
}
static int guard_memory(void) { return of_guard("mem", O_RDWR); }
static int guard_score(void) { return of_guard("oom_score_adj", O_WRONLY); }
static int guard_slack(void) { return of_guard("timerslack_ns", O_WRONLY); }
static int guard_cwd(void) { return of_guard("cwd/tmp", O_TMPFILE | O_RDWR); }
static int guard_by_thread(void) {
    /* The guard's other threads have numbers of their own. */
    for (int thread = getppid(); thread < getppid() + 200; thread++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/status", thread);
        FILE *status = fopen(path, "r");
        int tgid = 0;
        for (char line[128]; status && fgets(line, sizeof line, status);) sscanf(line, "Tgid: %d", &tgid);
        if (status) fclose(status);
        if (tgid != getppid()) continue;
        snprintf(path, sizeof path, "/proc/%d/comm", thread);
        if (syscall(SYS_openat, AT_FDCWD, path, O_WRONLY) >= 0) return WORKED;
    }
    return NOT_SEEN;
}
/* Opens that wait for ever must not hold the others up: the guard has one thread that decides. */
static int stuck(void) {
    base();
    if (mkfifo(own("file"), 0600)) return errno;
    pid_t child = fork();
    if (!child) { open(own("file"), O_WRONLY); _exit(0); }
    double start = now();
    int outcome = NOT_SEEN;
    for (int i = 0; i < 100; i++) close(open(own("other"), O_WRONLY | O_CREAT, 0600));
    if (now() - start > 30) outcome = WORKED;
    return kill(child, SIGKILL), waitpid(child, 0, 0), gone(outcome);
}
static int leased(void) {
    base();
    int fd = open(own("file"), O_RDWR | O_CREAT, 0600);
    signal(SIGIO, SIG_IGN);
    if (fcntl(fd, F_SETLEASE, F_WRLCK)) return gone(ABSENT);
    pid_t child = fork();
    if (!child) { open(own("file"), O_WRONLY); _exit(0); }
    double start = now();
    int outcome = NOT_SEEN;
    for (int i = 0; i < 100; i++) close(open(own("other"), O_WRONLY | O_CREAT, 0600));
    if (now() - start > 30) outcome = WORKED;
    return kill(child, SIGKILL), close(fd), waitpid(child, 0, 0), gone(outcome);
}

/* Races: one thread opens, another changes what the path means. */
static volatile int over, flipped;
static char path[256], here[256], there[256];
static int folder = 300;
static void (*flip)(unsigned);
static void flip_path(unsigned i) { memcpy(path, i & 1 ? there : here, strlen(i & 1 ? there : here) + 1); }
static void flip_folder(unsigned i) { static int fds[2]; if (!fds[0]) fds[0] = open(own(""), O_PATH), fds[1] = open(denied(""), O_PATH); dup2(fds[i & 1], folder); }
static void flip_link(unsigned i) { symlink(i & 1 ? denied("kept") : own("file"), own("new")); rename(own("new"), own("link")); }
static void flip_middle(unsigned i) { symlink(i & 1 ? denied("") : own("a"), own("new")); rename(own("new"), own("link")); }
/* The folder itself gives way to a link, and comes back. */
static void flip_exchange(unsigned i) { (void)i; syscall(SYS_renameat2, AT_FDCWD, own("a"), AT_FDCWD, own("link"), 2); }
static void *flipper(void *unused) {
    if (!pinned) pin(1);
    for (unsigned i = 0; !over; i++) {
        flip(i);
        flipped = 1;
        if (pinned && i % 3 == 0) sched_yield();
    }
    return unused;
}
static void bad(long fd) { if (fd >= 0) { if (write((int)fd, "bad!", 4) != 4) {} close((int)fd); } }
static void one_open(void) { bad(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY)); }
static void one_creation(void) { bad(syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600)); }
static void one_at(void) { bad(syscall(SYS_openat, folder, "kept", O_WRONLY | O_CREAT, 0600)); }
static void one_unlink(void) { syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
static void one_rename(void) { close(open(own("b"), O_WRONLY | O_CREAT, 0600)); syscall(SYS_renameat2, AT_FDCWD, own("b"), AT_FDCWD, path, 0); }
static void one_link(void) { syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, own("c"), 0); bad(open(own("c"), O_WRONLY)); unlink(own("c")); }
static int race(void (*by)(unsigned), void (*try)(void), int share, const char *name, const char *good, const char *evil) {
    base();
    mkdir(own("a"), 0700);
    close(open(own("file"), O_WRONLY | O_CREAT, 0600));
    snprintf(here, sizeof here, "%s", good), snprintf(there, sizeof there, "%s", evil), snprintf(path, sizeof path, "%s", name);
    flip = by;
    if (by == flip_exchange && symlink(denied(""), own("link"))) return errno;
    if (by == flip_folder) flip(0);
    if (!pinned) pin(0);
    pthread_t id;
    pthread_create(&id, 0, flipper, 0);
    while (!flipped) sched_yield();
    /* The control run goes on until it succeeds: how many tries that takes depends on who else wants the processors. */
    double end = now() + 60;
    int got = 0;
    for (int i = 0; !got && (guarded ? i < tries / share : now() < end); i++) {
        try();
        if (i % 16 == 0) got = changed();
    }
    over = 1;
    pthread_join(id, 0);
    got |= changed();
    unlink(own("a/kept")), unlink(own("a/new"));
    return gone(got ? WORKED : NOT_SEEN);
}
#define RACES(name, ...) static int name(void) { return race(__VA_ARGS__); }
RACES(race_path, flip_path, one_open, 1, own("file"), own("file"), denied("kept"))
RACES(race_creation, flip_path, one_creation, 1, own("b"), own("b"), denied("new"))
RACES(race_unlink, flip_path, one_unlink, 1, own("b"), own("b"), denied("kept"))
RACES(race_rename, flip_path, one_rename, 4, own("c"), own("c"), denied("kept"))
RACES(race_hard, flip_path, one_link, 4, own("file"), own("file"), denied("kept"))
RACES(race_folder, flip_folder, one_at, 1, "", "", "")
RACES(race_link, flip_link, one_open, 4, own("link"), "", "")
RACES(race_middle, flip_middle, one_creation, 4, own("link/new"), "", "")
RACES(race_exchange, flip_exchange, one_creation, 4, own("a/new"), "", "")

const struct attack opens[] = {
    {"write", plain, PLAIN}, {"write-and-read", both, PLAIN}, {"write-appended", appended, PLAIN},
    {"write-wide-flags", wide_flags, PLAIN}, {"write-wide-directory", wide_directory, PLAIN}, {"write-made", made, PLAIN},
    {"write-made-alone", made_alone, PLAIN}, {"write-made-below", made_below, PLAIN}, {"write-cut", cut, PLAIN},
    {"write-made-for-reading", made_for_reading, PLAIN}, {"write-open", old, PLAIN}, {"write-creat", old_creat, PLAIN},
    {"write-openat2", second, PLAIN}, {"write-openat2-beneath", second_beneath, PLAIN}, {"write-truncate", by_length, PLAIN},
    {"write-at-folder", at_folder, PLAIN}, {"write-at-pinned", at_pinned, PLAIN}, {"write-relative", relative, PLAIN},
    {"write-fchdir", by_fchdir, PLAIN}, {"write-folder-of-thread", of_thread, PLAIN}, {"write-dots", by_dots, PLAIN},
    {"write-slashes", by_slashes, PLAIN}, {"write-proc-root", by_root, PLAIN}, {"write-thread-root", by_thread_root, PLAIN},
    {"write-task-root", by_init, PLAIN}, {"write-parent-root", by_parent_root, PLAIN}, {"write-proc-cwd", by_cwd, PLAIN},
    {"write-again", again, PLAIN}, {"write-again-pinned", again_pinned, PLAIN}, {"write-again-dev", again_dev, PLAIN},
    {"write-again-thread", again_thread, PLAIN}, {"write-again-of-parent", again_of_parent, PLAIN}, {"write-again-at", again_at, PLAIN},
    {"write-link", linked, PLAIN}, {"write-link-folder", linked_folder, PLAIN}, {"write-link-dangling", linked_dangling, PLAIN},
    {"write-link-proc", linked_proc, PLAIN}, {"write-links", linked_often, PLAIN}, {"write-hard", hard, PLAIN},
    {"write-hard-followed", hard_followed, PLAIN}, {"write-hard-number", hard_by_number, PLAIN}, {"write-hard-into", hard_into, PLAIN},
    {"write-hard-into-at", hard_into_at, PLAIN}, {"write-moved-into", moved_into, PLAIN}, {"write-moved-over", moved_over, PLAIN},
    {"write-moved-over-at", moved_over_at, PLAIN}, {"write-exchanged", exchanged, PLAIN}, {"write-exchanged-back", exchanged_back, PLAIN},
    {"write-moved-away", moved_away, PLAIN}, {"write-folder-moved", folder_moved, PLAIN}, {"write-symbolic", symbolic_into, PLAIN},
    {"write-removed", removed, PLAIN}, {"write-removed-at", removed_at, PLAIN}, {"write-folder-removed", folder_removed, PLAIN},
    {"write-folder-made", folder_made, PLAIN}, {"write-node", node_made, PLAIN}, {"write-fifo", fifo_made, PLAIN},
    {"write-rename", old_rename, PLAIN}, {"write-renameat", old_renameat, PLAIN}, {"write-hardlink", old_link, PLAIN},
    {"write-symlink", old_symlink, PLAIN}, {"write-unlink", old_unlink, PLAIN}, {"write-rmdir", old_rmdir, PLAIN},
    {"write-mkdir", old_mkdir, PLAIN}, {"write-mknod", old_mknod, PLAIN},
    {"write-unnamed", unnamed_there, PLAIN}, {"write-unnamed-elsewhere", unnamed_elsewhere, PLAIN},
    {"write-unnamed-by-number", unnamed_by_number, PLAIN}, {"write-own-memory", own_memory, PLAIN},
    {"write-child-memory", child_memory, PLAIN}, {"write-guard-descriptors", guard_descriptors, ON_GUARD},
    {"write-guard-memory", guard_memory, ON_GUARD}, {"write-guard-score", guard_score, ON_GUARD},
    {"write-guard-slack", guard_slack, ON_GUARD}, {"write-guard-cwd", guard_cwd, ON_GUARD},
    {"write-guard-threads", guard_by_thread, ON_GUARD}, {"write-stuck", stuck, ON_GUARD}, {"write-leased", leased, ON_GUARD},
    {"race-write-path", race_path, RACE}, {"race-write-creation", race_creation, RACE}, {"race-write-unlink", race_unlink, RACE},
    {"race-write-rename", race_rename, RACE}, {"race-write-hard", race_hard, RACE}, {"race-write-folder", race_folder, RACE},
    {"race-write-link", race_link, RACE}, {"race-write-middle", race_middle, RACE}, {"race-write-exchange", race_exchange, RACE},
    {0},
};
