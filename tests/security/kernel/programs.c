/* Ways to run a program that the policy does not allow: the marked one ends with 42. */
#include "attack.h"

static char *const none[] = {0};
static char *mark[] = {"mark", "mark", 0};

static char *absolute(void) {
    static char path[256];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}
static char *own(const char *suffix) {
    static char path[256];
    snprintf(path, sizeof path, "/tmp/ringfence-attack-%d%s", getpid(), suffix);
    return path;
}
/* The file must be what it was: writing it needs no exec. */
static int copy_to(int to) {
    static char room[65536];
    int from = open(absolute(), O_RDONLY);
    for (ssize_t length; (length = read(from, room, sizeof room)) > 0;)
        if (write(to, room, (size_t)length) != length) return -1;
    close(from);
    return 0;
}
static int copy(const char *path) {
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    int failed = to < 0 || copy_to(to);
    close(to);
    return failed;
}

static const char *what;
static int flags, directory = AT_FDCWD;
static int become(void *unused) {
    (void)unused;
    if (flags >= 0) syscall(SYS_execveat, directory, what, mark, none, flags);
    else syscall(SYS_execve, what, mark, none);
    _exit(errno);
}
static int start(const char *path) {
    what = path, flags = -1;
    pid_t child = fork();
    if (!child) become(0);
    return ran(child);
}
static int start_at(int base, const char *path, int with) {
    directory = base, what = path, flags = with;
    pid_t child = fork();
    if (!child) become(0);
    return ran(child);
}

static int plain(void) { return start(absolute()); }
static int by_descriptor(void) { return start_at(open(absolute(), O_PATH), "", 0x1000); }
static int by_descriptor_wide(void) {
    what = "";
    int fd = open(absolute(), O_PATH);
    pid_t child = fork();
    if (!child) { syscall(SYS_execveat, fd, "", mark, none, 0x1000ul | 1ul << 32); _exit(errno); }
    return ran(child);
}
static int at_path(void) { return start_at(AT_FDCWD, absolute(), 0); }
static int at_directory(void) {
    char *path = absolute(), *slash = strrchr(path, '/');
    *slash = 0;
    return start_at(open(path, O_PATH | O_DIRECTORY), slash + 1, 0);
}
static int at_nothing_followed(void) { return start_at(AT_FDCWD, absolute(), AT_SYMLINK_NOFOLLOW); }
/* An exec that is held up: the program's place is taken, after it was judged, by one that its owner holds a lease on, so
   that it starts when nobody looks any more. It asks for nothing. */
static volatile char *flipping;
static void *flip(void *unused) {
    for (;;) *flipping = 'a', *flipping = 'b';
    return unused;
}
static int become_late(void *unused) {
    char *late[] = {"mark", "mark", "late", 0};
    syscall(SYS_execve, what, late, none);
    _exit(errno);
    return unused != 0;
}
static int held_back(pid_t child) {
    int status;
    for (int i = 0; i < 1000; i++, usleep(1000))
        if (waitpid(child, &status, WNOHANG) == child) return 0;
    return 1;
}
static int held_up(void) {
    static char path[256], room[65536];
    signal(SIGIO, SIG_IGN);
    strcpy(path, own("-b"));
    if (copy(path) || symlink("/usr/bin/true", own("-a"))) return errno;
    int fd = open(path, O_RDONLY), outcome = NOT_SEEN, held = 0;
    what = path, flipping = path + strlen(path) - 1;
    pthread_t id;
    pthread_create(&id, 0, flip, 0);
    for (int i = 0; i < 500 && !held; i++) {
        if (fcntl(fd, F_SETLEASE, F_WRLCK)) { outcome = ABSENT; break; }
        pid_t child = clone(become_late, room + sizeof room, CLONE_VM | SIGCHLD, 0);
        held = child > 0 && held_back(child) && fcntl(fd, F_GETLEASE) != F_WRLCK;
        if (held) usleep(5500000);
        fcntl(fd, F_SETLEASE, F_UNLCK);
        if (held) outcome = ran(child);
    }
    unlink(own("-a")), unlink(own("-b"));
    return outcome;
}
static char *numbered(const char *prefix, int fd) {
    static char path[64];
    snprintf(path, sizeof path, "%s/%d", prefix, fd);
    return path;
}
static int proc_fd(void) { return start(numbered("/proc/self/fd", open(absolute(), O_PATH))); }
static int dev_fd(void) { return access("/dev/fd", F_OK) ? ABSENT : start(numbered("/dev/fd", open(absolute(), O_PATH))); }
static int thread_fd(void) { return start(numbered("/proc/thread-self/fd", open(absolute(), O_PATH))); }
static int slashes_fd(void) { return start(numbered("//proc//self/../self/fd", open(absolute(), O_PATH))); }
static int proc_exe(void) { return start("/proc/self/exe"); }
static int proc_root(void) {
    char path[512];
    snprintf(path, sizeof path, "/proc/self/root%s", absolute());
    return start(path);
}
static int proc_cwd(void) {
    char path[512], *from = absolute(), *slash = strrchr(from, '/');
    *slash = 0;
    if (chdir(from)) return errno;
    snprintf(path, sizeof path, "/proc/self/cwd/%s", slash + 1);
    return start(path);
}
static int relative(void) {
    char *path = absolute(), *slash = strrchr(path, '/');
    *slash = 0;
    return chdir(path) ? errno : start(slash + 1);
}
static int memory_fd(void) {
    int fd = (int)syscall(SYS_memfd_create, "x", 0);
    if (fd < 0) return errno;
    return copy_to(fd) ? errno : start(numbered("/proc/self/fd", fd));
}
static int memory_empty_path(void) {
    int fd = (int)syscall(SYS_memfd_create, "true", 1);
    if (fd < 0) return errno;
    return copy_to(fd) ? errno : start_at(fd, "", 0x1000);
}
static int in_tmp(void) {
    char *path = own("");
    int outcome = copy(path) ? errno : start(path);
    unlink(path);
    return outcome;
}
static int in_shm(void) {
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/ringfence-attack-%d", getpid());
    int outcome = copy(path) ? ABSENT : start(path);
    unlink(path);
    return outcome;
}
static int named_true(void) {
    char *path = own("true");
    int outcome = copy(path) ? errno : start(path);
    unlink(path);
    return outcome;
}
static int deleted(void) {
    char *path = own("");
    if (copy(path)) return errno;
    int fd = open(path, O_PATH);
    unlink(path);
    return start(numbered("/proc/self/fd", fd));
}
static int nameless(void) {
    int fd = open("/tmp", O_TMPFILE | O_RDWR, 0755);
    if (fd < 0) return ABSENT;
    if (copy_to(fd)) return errno;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_PATH);
    close(fd);
    return start(numbered("/proc/self/fd", again));
}
static int hard_link(void) {
    char *path = own("");
    if (copy(path)) return errno;
    char second[256];
    snprintf(second, sizeof second, "%s-true", path);
    int outcome = link(path, second) ? errno : start(second);
    unlink(path), unlink(second);
    return outcome;
}
static int symbolic(int depth) {
    char *path = own("");
    char from[256];
    snprintf(from, sizeof from, "%s", absolute());
    for (int i = 0; i < depth; i++) {
        char next[300];
        snprintf(next, sizeof next, "%s-%d", path, i);
        unlink(next);
        if (symlink(from, next)) return errno;
        snprintf(from, sizeof from, "%s", next);
    }
    int outcome = start(from);
    for (int i = 0; i < depth; i++) {
        char next[300];
        snprintf(next, sizeof next, "%s-%d", path, i);
        unlink(next);
    }
    return outcome;
}
static int one_link(void) { return symbolic(1); }
static int chain_of_links(void) { return symbolic(6); }
static int link_to_self(void) {
    char *path = own("");
    unlink(path);
    if (symlink("/proc/self/exe", path)) return errno;
    int outcome = start(path);
    unlink(path);
    return outcome;
}
/* A script whose interpreter is the marked program; then one whose interpreter is that script. */
static int script(int depth) {
    char previous[400], path[300];
    snprintf(previous, sizeof previous, "%s mark", absolute());
    for (int i = 0; i < depth; i++) {
        snprintf(path, sizeof path, "%.250s-%d", own(""), i);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
        dprintf(fd, "#!%s\n", previous);
        close(fd);
        snprintf(previous, sizeof previous, "%s", path);
    }
    int outcome = start(path);
    for (int i = 0; i < depth; i++) {
        snprintf(path, sizeof path, "%.250s-%d", own(""), i);
        unlink(path);
    }
    return outcome;
}
static int one_script(void) { return script(1); }
static int chain_of_scripts(void) { return script(4); }

static char stack[65536];
static int by_vfork(void) {
    what = absolute(), flags = -1;
    return ran(clone(become, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, 0));
}
static int by_shared_memory(void) {
    what = absolute(), flags = -1;
    return ran(clone(become, stack + sizeof stack, CLONE_VM | SIGCHLD, 0));
}
static int by_sibling(void) {
    /* A brother of this process, not its child: seen by a signal that the brother's end cannot give. */
    what = absolute(), flags = -1;
    int pipes[2];
    if (pipe(pipes)) return errno;
    pid_t child = fork();
    if (!child) {
        pid_t brother = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
        if (!brother) {
            if (write(pipes[1], &brother, sizeof brother) < 0) _exit(1);
            become(0);
        }
        _exit(0);
    }
    waitpid(child, 0, 0);
    int status = 0;
    pid_t end = waitpid(-1, &status, 0);
    return end < 0 ? errno : WEXITSTATUS(status) == 42 ? WORKED : WEXITSTATUS(status);
}
static void *thread(void *unused) { return become(unused), (void *)0; }
static int by_thread(void) {
    what = absolute(), flags = -1;
    pid_t child = fork();
    if (!child) {
        pthread_t id;
        pthread_create(&id, 0, thread, 0);
        pthread_join(id, 0);
    }
    return ran(child);
}
static void *elsewhere(void *unused) {
    if (syscall(SYS_unshare, CLONE_FS)) _exit(errno);
    char *path = absolute(), *slash = strrchr(path, '/');
    *slash = 0;
    if (chdir(path)) _exit(errno);
    what = slash + 1;
    return become(unused), (void *)0;
}
static int thread_elsewhere(void) {
    flags = -1;
    pid_t child = fork();
    if (!child) {
        pthread_t id;
        pthread_create(&id, 0, elsewhere, 0);
        pthread_join(id, 0);
    }
    return ran(child);
}
static int grandchild(void) { return in_child(plain); }
static int loader(void) {
    char *loaders[] = {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"};
    for (int i = 0; i < 2; i++) {
        if (access(loaders[i], X_OK)) continue;
        pid_t child = fork();
        if (!child) { execl(loaders[i], loaders[i], "/bin/sh", "-c", "exit 42", (char *)0); _exit(errno); }
        return ran(child);
    }
    return ABSENT;
}
static int shell(void) {
    if (access("/bin/sh", X_OK)) return ABSENT;
    pid_t child = fork();
    if (!child) { execl("/bin/sh", "sh", "-c", "exit 42", (char *)0); _exit(errno); }
    return ran(child);
}
static int user_space(void) { return OUTCOME(syscall(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS)); }
static int user_space_clone(void) {
    int done = clone(become, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, 0);
    what = "", flags = -1;
    return OUTCOME(done);
}
static int clone3_space(void) {
    uint64_t arguments[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    long done = syscall(435, arguments, sizeof arguments);
    if (!done) _exit(0);
    return OUTCOME(done);
}
static int not_dumpable(void) {
    if (prctl(PR_SET_DUMPABLE, 0)) return errno;
    return prctl(PR_GET_DUMPABLE) == 0 ? WORKED : NOT_SEEN;
}
static int tree_copy(void) { return OUTCOME(syscall(428, AT_FDCWD, "/", 0)); }
static int tree_attributes(void) {
    long done = syscall(467, AT_FDCWD, "/", 0, 0, 0);
    return done < 0 && !guarded ? ABSENT : OUTCOME(done);
}
static int handle(void) {
    struct { unsigned bytes; int type; char room[128]; } at = {.bytes = 128};
    int mount;
    return OUTCOME(syscall(SYS_name_to_handle_at, AT_FDCWD, "/proc", &at, &mount, 0)) == WORKED ? WORKED : errno == EOPNOTSUPP && !guarded ? ABSENT : errno;
}

const struct attack programs[] = {
    {"exec", plain, PLAIN}, {"exec-by-grandchild", grandchild, PLAIN}, {"execveat-descriptor", by_descriptor, PLAIN},
    {"execveat-descriptor-wide-flags", by_descriptor_wide, PLAIN}, {"execveat-path", at_path, PLAIN},
    {"execveat-directory", at_directory, PLAIN}, {"execveat-nofollow", at_nothing_followed, PLAIN},
    {"exec-held-up", held_up, PLAIN}, {"exec-proc-fd", proc_fd, PLAIN}, {"exec-dev-fd", dev_fd, PLAIN}, {"exec-thread-self-fd", thread_fd, PLAIN},
    {"exec-proc-fd-by-detour", slashes_fd, PLAIN}, {"exec-proc-exe", proc_exe, PLAIN}, {"exec-proc-root", proc_root, PLAIN},
    {"exec-proc-cwd", proc_cwd, PLAIN}, {"exec-relative", relative, PLAIN}, {"exec-memfd", memory_fd, PLAIN},
    {"execveat-memfd", memory_empty_path, PLAIN}, {"exec-from-tmp", in_tmp, PLAIN}, {"exec-from-shm", in_shm, PLAIN},
    {"exec-from-tmp-named-true", named_true, PLAIN}, {"exec-deleted", deleted, PLAIN}, {"exec-nameless", nameless, PLAIN},
    {"exec-hard-link", hard_link, PLAIN}, {"exec-symbolic-link", one_link, PLAIN}, {"exec-chain-of-links", chain_of_links, PLAIN},
    {"exec-link-to-proc-self", link_to_self, PLAIN}, {"exec-script", one_script, PLAIN},
    {"exec-chain-of-scripts", chain_of_scripts, PLAIN}, {"exec-after-vfork", by_vfork, PLAIN},
    {"exec-on-shared-memory", by_shared_memory, PLAIN}, {"exec-by-brother", by_sibling, PLAIN}, {"exec-by-thread", by_thread, PLAIN},
    {"exec-by-thread-with-own-directory", thread_elsewhere, PLAIN}, {"exec-loader", loader, PLAIN}, {"exec-shell", shell, PLAIN},
    {"unshare-user", user_space, PLAIN}, {"clone-user", user_space_clone, PLAIN}, {"clone3-user", clone3_space, PLAIN},
    {"not-dumpable", not_dumpable, PLAIN}, {"open-tree", tree_copy, PLAIN}, {"open-tree-attr", tree_attributes, PLAIN},
    {"name-to-handle", handle, PLAIN},
    {0},
};
