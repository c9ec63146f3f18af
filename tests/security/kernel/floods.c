/* Attacks on the guard's time and room: it has failed when honest calls fail or wait, or forbidden ones pass. There is
   nothing to attack without it, so these have no control run. */
#include "attack.h"
#include <sys/utsname.h>

static int good_port, bad_port, bad;

static void prepare(void) {
    receiver(SOCK_DGRAM, ALLOWED, &good_port);
    bad = receiver(SOCK_DGRAM, FORBIDDEN, &bad_port);
}
static int reach(uint32_t address, int port) {
    struct sockaddr_in to = inet(address, port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int outcome = fd < 0 ? errno : OUTCOME(sendto(fd, "x", 1, 0, (void *)&to, sizeof to));
    if (fd >= 0) close(fd);
    return outcome;
}
/* WORKED: the attack has harmed. Refused means here: all is well. */
static int harmed(double begun, double limit) {
    int honest = reach(ALLOWED, good_port);
    if (honest) return fprintf(stderr, "an honest call fails: %s\n", strerror(honest)), WORKED;
    if (!reach(FORBIDDEN, bad_port)) return fprintf(stderr, "a forbidden call passes\n"), WORKED;
    /* Where the processor is emulated, time says nothing: whoever runs it there says how many times longer it may take. */
    const char *times = getenv("ATTACK_PATIENCE");
    if (now() - begun > limit * (times ? atof(times) : 1)) return fprintf(stderr, "it took %.1f s\n", now() - begun), WORKED;
    return EPERM;
}

static volatile int failures;
static void *knock(void *unused) {
    struct sockaddr_in to = inet(ALLOWED, good_port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd >= 0 && connect(fd, (void *)&to, sizeof to)) failures++;
    if (fd >= 0) close(fd);
    return unused;
}
static int threads(void) {
    prepare();
    double begun = now();
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32768);
    for (int round = 0; round < tries / 200; round++) {
        pthread_t ids[200];
        int started = 0;
        while (started < 200 && !pthread_create(&ids[started], &small, knock, 0)) started++;
        while (started) pthread_join(ids[--started], 0);
    }
    if (failures) return fprintf(stderr, "%d honest calls failed\n", failures), WORKED;
    return harmed(begun, 60);
}
static int processes(void) {
    prepare();
    double begun = now();
    int bad_ends = 0;
    for (int round = 0; round < tries / 200; round++) {
        int started = 0, status;
        for (; started < 200; started++) {
            pid_t child = fork();
            if (!child) { knock(0); _exit(failures); }
            if (child < 0) break;
        }
        while (wait(&status) > 0) bad_ends += status != 0;
    }
    if (bad_ends) return fprintf(stderr, "%d honest calls failed\n", bad_ends), WORKED;
    return harmed(begun, 60);
}
/* Children that are stopped, or killed, at any moment of their calls. */
static int struck(int signal_number) {
    prepare();
    double begun = now(), worst = 0;
    for (int round = 0; round < tries / 20; round++) {
        pid_t child = fork();
        if (!child) for (;;) knock(0);
        usleep(200 + round % 7 * 100);
        kill(child, signal_number);
        double one = now();
        knock(0);
        if (now() - one > worst) worst = now() - one;
        kill(child, SIGKILL);
        waitpid(child, 0, 0);
    }
    if (failures) return fprintf(stderr, "%d honest calls failed\n", failures), WORKED;
    if (worst > 10) return fprintf(stderr, "an honest call took %.1f s\n", worst), WORKED;
    return harmed(begun, 120);
}
static int stopped(void) { return struck(SIGSTOP); }
static int killed(void) { return struck(SIGKILL); }

/* A listener whose queue is full swallows connections: each holds a caller for minutes. */
static int full_port;
static void *stuck(void *unused) {
    struct sockaddr_in to = inet(ALLOWED, full_port);
    connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof to);
    return unused;
}
static int dead_hosts(void) {
    prepare();
    int full = receiver(SOCK_STREAM, ALLOWED, &full_port), live_port = 0;
    listen(full, 0);
    receiver(SOCK_STREAM, ALLOWED, &live_port);
    pthread_t id;
    for (int i = 0; i < 64; i++) pthread_create(&id, 0, stuck, 0);
    usleep(300000);
    double begun = now();
    struct sockaddr_in to = inet(ALLOWED, live_port);
    if (connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof to)) return WORKED;
    return harmed(begun, 20);
}
/* The same from a hundred children, each a share of its own: the function itself still connects, and at once. */
static int dead_hosts_of_children(void) {
    prepare();
    int full = receiver(SOCK_STREAM, ALLOWED, &full_port), live_port = 0, ready[2];
    listen(full, 0);
    receiver(SOCK_STREAM, ALLOWED, &live_port);
    if (pipe(ready)) return WORKED;
    pid_t children[100];
    for (int i = 0; i < 100; i++) {
        children[i] = fork();
        if (children[i]) continue;
        pthread_t id;
        for (int j = 0; j < 4; j++) pthread_create(&id, 0, stuck, 0);
        usleep(100000);
        _exit(write(ready[1], "x", 1) != 1 || pause());
    }
    char byte;
    for (int i = 0; i < 100; i++)
        if (read(ready[0], &byte, 1) != 1) return WORKED;
    double begun = now();
    struct sockaddr_in to = inet(ALLOWED, live_port);
    int outcome = OUTCOME(connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof to));
    if (outcome) fprintf(stderr, "the function's own connect fails: %s\n", strerror(outcome));
    else outcome = harmed(begun, 1);
    for (int i = 0; i < 100; i++) kill(children[i], SIGKILL), waitpid(children[i], 0, 0);
    return outcome == EPERM ? EPERM : WORKED;
}
static void *unix_stuck(void *address) {
    connect(socket(AF_UNIX, SOCK_STREAM, 0), address, 12);
    return 0;
}
static int full_unix(void) {
    prepare();
    static struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path + 1, 12, "f%08d", getpid());
    int full = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(full, (void *)&at, 12) || listen(full, 0)) return WORKED;
    pthread_t id;
    for (int i = 0; i < 64; i++) pthread_create(&id, 0, unix_stuck, &at);
    usleep(200000);
    return harmed(now(), 20);
}

static pid_t start_true(void) {
    pid_t child = fork();
    if (!child) { execl("/usr/bin/true", "true", (char *)0); _exit(errno); }
    return child;
}
/* Ended children that nobody reaps must not count as execs under way. */
static int zombies(void) {
    prepare();
    double begun = now();
    pid_t children[200];
    int refused = 0, status;
    siginfo_t ended;
    for (int i = 0; i < 200; i++) children[i] = start_true(), waitid(P_PID, children[i], &ended, WEXITED | WNOWAIT);
    for (int i = 0; i < 200; i++) waitpid(children[i], &status, 0), refused += status != 0;
    if (refused) return fprintf(stderr, "%d honest execs failed\n", refused), WORKED;
    return harmed(begun, 60);
}
static int execs_at_once(void) {
    prepare();
    double begun = now();
    int refused = 0, status;
    for (int i = 0; i < 48; i++) start_true();
    while (wait(&status) > 0) refused += status != 0;
    if (refused) return fprintf(stderr, "%d honest execs failed\n", refused), WORKED;
    return harmed(begun, 60);
}
/* A lease holds up whoever opens the file, for 45 s. */
static int lease(void) {
    prepare();
    char path[64];
    snprintf(path, sizeof path, "/tmp/ringfence-lease-%d", getpid());
    int fd = open(path, O_RDWR | O_CREAT, 0755);
    signal(SIGIO, SIG_IGN);
    if (write(fd, "#!/usr/bin/true\n", 16) != 16 || fcntl(fd, F_SETLEASE, F_WRLCK)) return ABSENT;
    pid_t child = fork();
    if (!child) { execl(path, path, (char *)0); _exit(errno); }
    usleep(50000);
    double begun = now();
    int outcome = harmed(begun, 20);
    kill(child, SIGKILL);
    fcntl(fd, F_SETLEASE, F_UNLCK);
    waitpid(child, 0, 0);
    unlink(path);
    return outcome;
}
/* The same as a named pipe in the place of a program, and of a program's interpreter. */
static int pipe_as_program(void) {
    prepare();
    char path[64], script[96];
    snprintf(path, sizeof path, "/tmp/ringfence-pipe-%d", getpid());
    snprintf(script, sizeof script, "%s-script", path);
    mkfifo(path, 0755);
    int fd = open(script, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    dprintf(fd, "#!%s\n", path);
    close(fd);
    double begun = now();
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (!child) { execl(i ? script : path, "x", (char *)0); _exit(0); }
        waitpid(child, 0, 0);
    }
    unlink(path), unlink(script);
    return harmed(begun, 5);
}
/* Sockets until no more can be had: the guard's own table must not be what runs full. */
static int many_sockets(void) {
    prepare();
    double begun = now();
    int fds[900], used = 0;
    while (used < 900 && (fds[used] = socket(AF_INET, SOCK_STREAM, 0)) >= 0) used++;
    while (used) close(fds[--used]);
    for (int i = 0; i < tries; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (fd < 0) return fprintf(stderr, "socket %d: %s\n", i, strerror(errno)), WORKED;
        close(fd);
    }
    return harmed(begun, 60);
}
/* Descriptors and threads at the limit. */
static int no_descriptors(void) {
    prepare();
    struct rlimit old, few = {64, 4096};
    getrlimit(RLIMIT_NOFILE, &old);
    few.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_NOFILE, &few);
    while (dup(0) >= 0) {}
    struct sockaddr_in to = inet(ALLOWED, good_port);
    for (int i = 0; i < 100; i++) connect(5, (void *)&to, sizeof to), socket(AF_INET, SOCK_DGRAM, 0);
    for (int fd = 20; fd < 64; fd++) close(fd);
    return harmed(now(), 5);
}
static void tick(int unused) { (void)unused; }
/* Interrupted at every moment, an honest call happens once: no datagram is lost or doubled. */
static int interrupted(void) {
    prepare();
    double begun = now();
    struct sigaction act = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &act, 0);
    int port = 0, to_fd = receiver(SOCK_DGRAM, ALLOWED, &port), fd = socket(AF_INET, SOCK_DGRAM, 0), got = 0, sent = 0;
    struct sockaddr_in to = inet(ALLOWED, port);
    struct itimerval fast = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &fast, 0);
    char byte[8];
    for (int i = 0; i < tries; i++) {
        if (sendto(fd, "x", 1, 0, (void *)&to, sizeof to) == 1) sent++;
        while (recv(to_fd, byte, sizeof byte, 0) > 0) got++;
    }
    setitimer(ITIMER_REAL, &off, 0);
    while (arrived(to_fd, SOCK_DGRAM) == WORKED) got++;
    /* Before WAIT_KILLABLE_RECV a signal can cross the guard's answer, and nobody can tell: docs/kernel-plane.md, limits.
       How often depends on the machine, so there only losses count. */
    int major = 0, minor = 0;
    struct utsname system;
    int tells = uname(&system) || sscanf(system.release, "%d.%d", &major, &minor) != 2 || major * 100 + minor >= 519;
    if (sent != tries || got < sent || (tells && got > sent)) return fprintf(stderr, "%d tries, %d sent, %d arrived\n", tries, sent, got), WORKED;
    return harmed(begun, 60);
}
/* The records of a storm are bounded, and the storm harms nobody. */
static int storm(void) {
    prepare();
    double begun = now();
    for (int i = 0; i < tries; i++) reach(FORBIDDEN, bad_port), kill(getppid(), 0);
    return harmed(begun, 120);
}
static int garbage(void) {
    prepare();
    double begun = now();
    unsigned seed = 1;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (int i = 0; i < tries; i++) {
        static unsigned long room[64];
        for (int k = 0; k < 64; k++) seed = seed * 1664525 + 1013904223, room[k] = i % 3 ? seed : (unsigned long)room + seed % 600;
        static const long calls[] = {SYS_connect, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_bind, SYS_execve, SYS_execveat, SYS_listen};
        long call = calls[i % 8];
        int forked = call == SYS_execve || call == SYS_execveat;
        if (forked && i % 64 > 7) continue;
        if (!forked) syscall(call, fd, room, room[1] % 200, room[2], room + 8, room[3] % 200);
        else if (call == SYS_execve) syscall(call, room, room + 8, room + 9);
        else syscall(call, fd, room, room + 8, room + 9, 0);
    }
    return harmed(begun, 60);
}
static int far_memory(void) {
    prepare();
    static const unsigned long places[] = {0, 1, 4095, 0x7fffffffffff, 0xffff800000000000, 0xffffffffffffffff, 0x8000000000000000};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
        for (unsigned k = 0; k < sizeof places / sizeof *places; k++) {
            struct msghdr header = {(void *)places[i], (socklen_t)places[k], (void *)places[i], places[k], (void *)places[k], places[i], 0};
            syscall(SYS_sendmsg, fd, &header, 0);
            syscall(SYS_sendmsg, fd, places[i], 0);
            syscall(SYS_sendmmsg, fd, places[i], places[k], 0);
            syscall(SYS_sendto, fd, places[i], places[k], 0, places[k], places[i]);
            syscall(SYS_connect, fd, places[i], places[k]);
            syscall(SYS_bind, fd, places[i], places[k]);
            syscall(SYS_execve, places[i], places[k], places[k]);
            syscall(SYS_execveat, fd, places[i], places[k], places[k], 0);
            syscall(SYS_prlimit64, places[i], places[k], places[k], 0);
        }
    return harmed(now(), 5);
}
static int own_memory_gone(void) {
    prepare();
    double begun = now();
    char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    struct sockaddr_in to = inet(FORBIDDEN, bad_port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    memcpy(page + 4096 - 8, &to, 8);
    if (!connect(fd, (void *)(page + 4096 - 8), 16)) return WORKED;
    memcpy(page + 4096 - 16, &to, 16);
    if (!connect(fd, (void *)(page + 4096 - 16), 16)) return WORKED;
    return harmed(begun, 5);
}

const struct attack floods[] = {
    {"flood-of-threads", threads, ON_GUARD}, {"flood-of-processes", processes, ON_GUARD},
    {"callers-stopped-in-their-calls", stopped, ON_GUARD}, {"callers-killed-in-their-calls", killed, ON_GUARD},
    {"sixty-four-dead-hosts", dead_hosts, ON_GUARD}, {"sixty-four-full-unix-sockets", full_unix, ON_GUARD},
    {"a-hundred-children-at-dead-hosts", dead_hosts_of_children, ON_GUARD},
    {"two-hundred-zombies", zombies, ON_GUARD}, {"execs-at-once", execs_at_once, ON_GUARD}, {"lease-on-a-program", lease, ON_GUARD},
    {"pipe-as-a-program", pipe_as_program, ON_GUARD}, {"many-sockets", many_sockets, ON_GUARD},
    {"no-descriptors-left", no_descriptors, ON_GUARD}, {"interrupted-sends", interrupted, ON_GUARD},
    {"storm-of-violations", storm, ON_GUARD}, {"garbage-arguments", garbage, ON_GUARD}, {"far-memory", far_memory, ON_GUARD},
    {"address-across-a-hole", own_memory_gone, ON_GUARD},
    {0},
};
