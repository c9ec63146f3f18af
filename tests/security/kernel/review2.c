/* What a second review of the guard by an outsider tried: addresses that mean something else on one socket than on
   another, files and sockets of which the guard is the maker, and the guard's own time. */
#include "attack.h"

/* "No address" means loopback only on a socket that is bound nowhere: on one that is bound it is where that is. */
static int unspecified(int kind, int asked_by_message) {
    int port = 0, at = receiver(kind, FORBIDDEN, &port), fd = socket(AF_INET, kind, 0);
    struct sockaddr_in from = inet(FORBIDDEN, 0), to = inet(INADDR_ANY, port);
    if (bind(fd, (void *)&from, sizeof from)) return errno;
    long done = asked_by_message ? sendto(fd, "x", 1, 0, (void *)&to, sizeof to) : connect(fd, (void *)&to, sizeof to);
    if (!asked_by_message && !done && kind == SOCK_DGRAM) done = write(fd, "x", 1);
    int error = errno, seen = arrived(at, kind);
    return seen == WORKED ? WORKED : done < 0 ? error : NOT_SEEN;
}
static int unspecified_tcp(void) { return unspecified(SOCK_STREAM, 0); }
static int unspecified_udp(void) { return unspecified(SOCK_DGRAM, 0); }
static int unspecified_sendto(void) { return unspecified(SOCK_DGRAM, 1); }
static int unspecified_mapped(void) {
    int port = 0, at = receiver(SOCK_STREAM, FORBIDDEN, &port), fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd < 0) return ABSENT;
    struct sockaddr_in6 from = mapped(FORBIDDEN, 0), to = mapped(INADDR_ANY, port);
    if (bind(fd, (void *)&from, sizeof from)) return errno;
    long done = connect(fd, (void *)&to, sizeof to);
    int error = errno, seen = arrived(at, SOCK_STREAM);
    return seen == WORKED ? WORKED : done < 0 ? error : NOT_SEEN;
}

/* A path so long that the guard has no room for it, in a folder that is moved up afterwards. */
static int name_cut_short(void) {
    char folder[201], name[256], path[512];
    const char *own = getenv("RINGFENCE_DENIED");
    snprintf(path, sizeof path, "/tmp/ringfence-open-%s", strrchr(own, '-') + 1);
    if (mkdir(path, 0700) || chdir(path)) return errno;
    memset(folder, 'd', 200), folder[200] = 0;
    memset(name, 'n', 230), strcpy(name + 230, ".sealed");
    /* 20 folders of 201 bytes: the name ends beyond 4096. */
    for (int i = 0; i < 20; i++)
        if (mkdir(folder, 0700) || chdir(folder)) return errno;
    int last = open(".", O_PATH | O_DIRECTORY);
    if (mkdir("deepest", 0700) || chdir("deepest")) return errno;
    int outcome = OUTCOME(open(name, O_WRONLY | O_CREAT, 0600));
    if (outcome != WORKED) return outcome;
    int top = open(path, O_PATH | O_DIRECTORY);
    if (renameat(last, "deepest", top, "up") || chdir(path) || chdir("up")) return errno;
    return OUTCOME(access(name, F_OK));
}

/* The node of a socket is made with the rights that its maker lets it have, not with those that another one let a file. */
static int node_of_others_mask(void) {
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "/tmp/ringfence-open-%s", strrchr(getenv("RINGFENCE_DENIED"), '-') + 1);
    if (mkdir(path, 0700) || chdir(path)) return errno;
    pid_t child = fork();
    if (!child) { umask(0); _exit(mkdir("open", 0777) ? errno : 0); }
    waitpid(child, 0, 0);
    umask(077);
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "private"};
    if (bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at) || stat("private", &status)) return errno;
    return guarded == ((status.st_mode & 077) != 0) ? WORKED : EPERM;
}

/* Where the guard is privileged, who has given his rights up gets them back by no call that it makes for him. */
static int give_up(void) { return syscall(SYS_setgroups, 0, 0) || syscall(SYS_setgid, 65534) || syscall(SYS_setuid, 65534); }
static struct sockaddr_un private_socket(int *at) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "/tmp/ringfence-open-%s/s", strrchr(getenv("RINGFENCE_DENIED"), '-') + 1);
    *strrchr(to.sun_path, '/') = 0;
    mkdir(to.sun_path, 0700);
    strcat(to.sun_path, "/s");
    *at = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(*at, (void *)&to, sizeof to) || listen(*at, 8)) exit(3);
    return to;
}
static struct sockaddr_un private;
static int listening;
static int connect_private(void) {
    if (give_up()) return errno;
    return OUTCOME(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&private, sizeof private));
}
static int lost_connect(void) {
    if (getuid()) return ABSENT;
    private = private_socket(&listening);
    int outcome = in_child(connect_private);
    /* The other way round: without the guard the kernel refuses it, and must go on doing so. */
    return guarded ? outcome : outcome == EACCES ? WORKED : ENOSYS;
}
static int say_who(void) {
    static struct sockaddr_un named = {.sun_family = AF_UNIX, .sun_path = "\0ringfence-review"};
    struct ucred peer;
    socklen_t size = sizeof peer;
    int at = socket(AF_UNIX, SOCK_STREAM, 0), length = (int)sizeof(sa_family_t) + 17;
    if (bind(at, (void *)&named, length) || listen(at, 8)) return errno;
    pid_t child = fork();
    if (!child) {
        if (give_up()) _exit(1);
        connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&named, length);
        _exit(0);
    }
    waitpid(child, 0, 0);
    struct pollfd wait = {at, POLLIN, 0};
    if (poll(&wait, 1, 1000) < 1) return guarded ? EACCES : NOT_SEEN;
    if (getsockopt(accept(at, 0, 0), SOL_SOCKET, SO_PEERCRED, &peer, &size)) return errno;
    return (peer.uid == 0) == guarded ? WORKED : EPERM;
}
static int lost_name(void) { return getuid() ? ABSENT : say_who(); }
static int bind_low(void) {
    if (give_up()) return errno;
    struct sockaddr_in at = inet(ALLOWED, 81);
    return OUTCOME(bind(socket(AF_INET, SOCK_STREAM, 0), (void *)&at, sizeof at));
}
static int lost_port(void) {
    if (getuid()) return ABSENT;
    int outcome = in_child(bind_low);
    return guarded ? outcome : outcome == EACCES ? WORKED : ENOSYS;
}

/* The system call is refused, and there is a device that gives the same. */
static int faults_by_device(void) {
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    return device < 0 ? (guarded ? errno : ABSENT) : OUTCOME(syscall(SYS_ioctl, device, 0xaa00, 0));
}

/* A question whether somebody is there harms nobody, and children ask it about their parent. */
static int ask_for_parent(void) { return OUTCOME(kill(getppid(), 0)) == WORKED ? EPERM : WORKED; }
static int asks_for_parent(void) { return in_child(ask_for_parent); }

/* A few calls that are much work each: everybody else's wait for them. */
static double honest_call_beside(void (*heavy)(void)) {
    int port = 0;
    receiver(SOCK_DGRAM, ALLOWED, &port);
    struct sockaddr_in to = inet(ALLOWED, port);
    pid_t children[12];
    for (int i = 0; i < 12; i++)
        if (!(children[i] = fork()))
            for (;;) heavy();
    double begun = now(), worst = 0;
    while (now() - begun < 3) {
        double one = now();
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        connect(fd, (void *)&to, sizeof to);
        close(fd);
        if (now() - one > worst) worst = now() - one;
    }
    for (int i = 0; i < 12; i++) kill(children[i], SIGKILL), waitpid(children[i], 0, 0);
    if (worst > 2) fprintf(stderr, "an honest call took %.1f s\n", worst);
    return worst;
}
static void send_many_pieces(void) {
    static char data[64 * 1024];
    static struct iovec pieces[1024];
    static struct mmsghdr messages[64];
    struct sockaddr_in to = inet(ALLOWED, 9);
    for (int i = 0; i < 1024; i++) pieces[i] = (struct iovec){data + i * 60, 60};
    for (int i = 0; i < 64; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = pieces, .msg_iovlen = 1024};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    syscall(SYS_sendmmsg, fd, messages, 64, 0);
    close(fd);
}
static int many_pieces(void) { return honest_call_beside(send_many_pieces) > 2 ? WORKED : EAGAIN; }

static char long_way[4096];
static void look_up_a_long_way(void) { if (link(long_way, long_way)) errno = 0; }
static int many_steps(void) {
    char text[4096] = "", path[128];
    snprintf(path, sizeof path, "/tmp/ringfence-open-%s", strrchr(getenv("RINGFENCE_DENIED"), '-') + 1);
    if (mkdir(path, 0700) || chdir(path)) return errno;
    for (int i = 0; i < 2040; i++) strcpy(text + 2 * i, "./");
    if (symlink(text, "l") || mknod("x", S_IFREG | 0600, 0)) return errno;
    strcpy(long_way, "l/");
    for (int i = 0; i < 2000; i++) strcpy(long_way + 2 + 2 * i, "./");
    strcat(long_way, "x");
    return honest_call_beside(look_up_a_long_way) > 2 ? WORKED : ENAMETOOLONG;
}

/* An address in use: whether the guard itself keeps it so is not looked for again and again, among all descriptors. */
static struct sockaddr_in taken;
static void bind_taken(void) {
    static int fd = -1;
    if (fd < 0) fd = socket(AF_INET, SOCK_STREAM, 0);
    bind(fd, (void *)&taken, sizeof taken);
}
static int many_descriptors(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 1024 ? limit.rlim_max : 1024;
    setrlimit(RLIMIT_NOFILE, &limit);
    int port = 0;
    receiver(SOCK_STREAM, ALLOWED, &port);
    taken = inet(ALLOWED, port);
    pid_t children[48];
    for (int i = 0; i < 48; i++)
        if (!(children[i] = fork())) {
            while (dup(1) >= 0) {}
            for (;;) pause();
        }
    usleep(500000);
    double worst = honest_call_beside(bind_taken);
    for (int i = 0; i < 48; i++) kill(children[i], SIGKILL), waitpid(children[i], 0, 0);
    /* One look among so many takes a second here, and there may be one in nine. */
    return worst > 3 ? WORKED : EADDRINUSE;
}

/* A program is swapped in while another process holds the guard up: a call of its own, with an address in memory whose
   lock is held by a thread that has next to no time. Nobody looks at the program meanwhile, if the guard has nobody else.
   The program shows by the clock, in memory that it has inherited, how long it ran. */
enum { COPIES = 64 };
static struct beat *pulse;
static char *large, place[256];
static const size_t copy = 64 << 20;
static struct beat *inherited(void) { return mmap(0, sizeof *pulse, PROT_READ | PROT_WRITE, MAP_SHARED, BEAT, 0); }
int beat(void) {
    pulse = inherited();
    if (pulse == MAP_FAILED) return 1;
    pulse->first = pulse->last = now(), pulse->flag = 1;
    while (now() - pulse->first < 2) pulse->last = now();
    return 0;
}
static void *take_time(void *unused) {
    pin(1);
    for (;;) if (!pulse->ready || (pulse->flag && now() - pulse->first > 4)) usleep(1000);
    return unused;
}
static void *hold_memory(void *unused) {
    struct sched_param none = {0};
    pin(1), sched_setscheduler(0, SCHED_IDLE, &none);
    for (int i = 0;; i++) pulse->ready = 1, mprotect(large, copy * COPIES, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ);
    return unused;
}
static void hold_the_guard_up(void) {
    int file = (int)syscall(SYS_memfd_create, "large", 0), fd = socket(AF_INET, SOCK_DGRAM, 0);
    static struct sockaddr_in to;
    to = inet(ALLOWED, 9);
    large = mmap(0, copy * COPIES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (large == MAP_FAILED || ftruncate(file, (off_t)copy)) _exit(1);
    for (int i = 0; i < COPIES; i++)
        mmap(large + copy * (size_t)i, copy, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, file, 0);
    pthread_t id;
    for (int i = 0; i < 2; i++) pthread_create(&id, 0, take_time, 0);
    pthread_create(&id, 0, hold_memory, 0);
    pin(0);
    while (!pulse->flag) {}
    connect(fd, (void *)&to, sizeof to);
    _exit(0);
}
static void *swap_programs(void *unused) {
    for (unsigned i = 0;; i++) {
        strcpy(place, i & 1 ? self : "/usr/bin/true");
        for (volatile unsigned pause = 0; pause < i * 7 % 3000; pause++) {}
    }
    return unused;
}
static int run_what_is_there(void *unused) {
    char *arguments[] = {"mark", "beat", 0};
    (void)unused, syscall(SYS_execve, place, arguments, (char *[]){0});
    _exit(1);
}
static double lives_for(void) {
    static char stack[65536];
    *pulse = (struct beat){0};
    pid_t holder = fork();
    if (!holder) hold_the_guard_up();
    double begun = now();
    while (!pulse->ready && now() - begun < 20) usleep(1000);
    usleep(300000);
    for (begun = now(); !pulse->flag && now() - begun < 20;) {
        pid_t child = clone(run_what_is_there, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
        if (child > 0) waitpid(child, 0, 0);
    }
    kill(holder, SIGKILL);
    waitpid(holder, 0, 0);
    return pulse->last - pulse->first;
}
static int seen_by_nobody(void) {
    int file = (int)syscall(SYS_memfd_create, "beat", 0);
    if (file < 0 || ftruncate(file, sizeof *pulse) || dup2(file, BEAT) < 0 || (pulse = inherited()) == MAP_FAILED) return errno;
    strcpy(place, "/usr/bin/true");
    pthread_t id;
    pthread_create(&id, 0, swap_programs, 0);
    double begun = now(), lived = 0;
    while (lived <= 1 && now() - begun < share_of(40)) lived = lives_for();
    if (lived > 1) fprintf(stderr, "it ran for %.1f s\n", lived);
    return lived > 1 ? WORKED : NOT_SEEN;
}

const struct attack review2[] = {
    {"unspecified-where-bound-tcp", unspecified_tcp, PLAIN}, {"unspecified-where-bound-udp", unspecified_udp, PLAIN},
    {"unspecified-where-bound-sendto", unspecified_sendto, PLAIN},
    {"unspecified-where-bound-mapped", unspecified_mapped, PLAIN},
    {"name-cut-short", name_cut_short, PLAIN},
    {"node-of-others-mask", node_of_others_mask, PLAIN},
    {"as-root-connect-private", lost_connect, PLAIN}, {"as-root-named-by-guard", lost_name, PLAIN},
    {"as-root-bind-low-port", lost_port, PLAIN},
    {"as-root-userfaultfd-by-device", faults_by_device, PLAIN},
    {"child-asks-for-its-parent", asks_for_parent, ON_GUARD},
    {"sends-of-many-pieces", many_pieces, ON_GUARD}, {"look-ups-of-many-steps", many_steps, ON_GUARD},
    {"binds-among-many-descriptors", many_descriptors, ON_GUARD},
    {"swapped-in-while-nobody-looks", seen_by_nobody, ON_GUARD},
    {0},
};
