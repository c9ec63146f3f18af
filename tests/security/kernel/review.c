/* What a review of the guard by an outsider tried: numbers that come to mean somebody else after the verdict, and calls
   that are made to wait in the guard's hands. */
#include "attack.h"
#include <linux/filter.h>

/* Signals of a child that reach the runtime, which it may not signal. */
static volatile int hits, stop_it;
static void hit(int signal_number, siginfo_t *info, void *unused) {
    (void)signal_number, (void)unused;
    if (info->si_pid > 0 && info->si_pid != getpid()) hits++;
}
static void take_hits(void) {
    struct sigaction act = {.sa_sigaction = hit, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGUSR2, &act, 0);
}
static int refused_outright(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, 0, 0);
    return hits ? WORKED : EPERM;
}

/* A thread that is not there yet when the guard looks, and is the runtime's when the kernel does. */
static volatile pid_t *newest;
static void *be_born(void *unused) {
    *newest = (pid_t)syscall(SYS_gettid);
    return unused;
}
static int thread_to_come(void) {
    newest = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    take_hits();
    pid_t child = fork();
    if (!child)
        for (unsigned ahead = 0;; ahead = (ahead + 1) % 6) syscall(SYS_tkill, *newest + 1 + (int)ahead, SIGUSR2);
    double begun = now();
    for (int i = 0; !hits && (guarded ? i < tries : now() - begun < 30); i++) {
        pthread_t id;
        if (!pthread_create(&id, 0, be_born, 0)) pthread_join(id, 0);
    }
    return refused_outright(child);
}

/* A process that is in a group of its own when the guard looks, and in the runtime's when the kernel does. */
static pid_t theirs;
static void *move_about(void *unused) {
    for (;;) setpgid(0, theirs), setpgid(0, 0);
    return unused;
}
static int group_joined_late(void) {
    take_hits();
    theirs = getpgrp();
    pid_t child = fork();
    if (!child) {
        signal(SIGUSR2, SIG_IGN);
        setpgid(0, 0);
        pthread_t id;
        pthread_create(&id, 0, move_about, 0);
        for (;;) kill(0, SIGUSR2);
    }
    double begun = now();
    while (!hits && now() - begun < (guarded ? tries / 2000.0 : 30)) usleep(1000);
    return refused_outright(child);
}

/* A connect that was not to wait when the guard looked at the socket, and waits then: in the guard's hands, for as long as
   a full listener likes, also when the caller is gone. */
static int flipping;
static void *flip(void *unused) {
    for (;;) fcntl(flipping, F_SETFL, O_RDWR), fcntl(flipping, F_SETFL, O_RDWR | O_NONBLOCK);
    return unused;
}
static int made_to_wait(void) {
    int full_port = 0, good_port = 0;
    listen(receiver(SOCK_STREAM, ALLOWED, &full_port), 0);
    receiver(SOCK_DGRAM, ALLOWED, &good_port);
    struct sockaddr_in to = inet(ALLOWED, full_port), good = inet(ALLOWED, good_port);
    for (int i = 0; i < 4; i++) connect(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), (void *)&to, sizeof to);
    double begun = now(), worst = 0;
    for (int i = 0; i < tries / 20 && worst < 3 && now() - begun < 60; i++) {
        pid_t child = fork();
        if (!child) {
            flipping = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            pthread_t id;
            pthread_create(&id, 0, flip, 0);
            usleep(500);
            connect(flipping, (void *)&to, sizeof to);
            _exit(0);
        }
        usleep(3000);
        kill(child, SIGKILL);
        waitpid(child, 0, 0);
        double one = now();
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        connect(fd, (void *)&good, sizeof good);
        close(fd);
        if (now() - one > worst) worst = now() - one;
    }
    if (worst > 3) return fprintf(stderr, "an honest call took %.1f s\n", worst), WORKED;
    return EPERM;
}

/* The guard is killed from outside. What it was asked about is nobody's to allow then, and nobody may take its place. */
static int is_gone(pid_t process) {
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = fopen(path, "r");
    if (!file) return 1;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 0;
    fclose(file);
    return state == 'Z' || state == 'X';
}
static int after_the_guard(int (*run)(void)) {
    pid_t guard = getppid();
    if (!guarded) return in_child(run);
    /* The runtime may go with its guard, so a child of it goes on, and says how it went. */
    pid_t child = fork();
    if (!child) {
        double begun = now();
        if (write(102, "x", 1) != 1) puts("worked"), fprintf(stderr, "nobody kills the guard\n"), _exit(1);
        while (!is_gone(guard)) {
            if (now() - begun > 30) puts("worked"), fprintf(stderr, "the guard lives\n"), _exit(1);
            usleep(1000);
        }
        int outcome = run();
        outcome == WORKED ? printf("worked\n") : printf("refused %d\n", outcome);
        _exit(0);
    }
    waitpid(child, 0, 0);
    _exit(0);
}
static int send_forbidden(void) {
    /* A socket from before: where the guard makes them there are no more. */
    int port = 0, at = 101;
    if (!guarded) at = receiver(SOCK_DGRAM, FORBIDDEN, &port);
    struct sockaddr_in to = inet(FORBIDDEN, guarded ? 9 : port);
    if (sendto(100, "x", 1, 0, (void *)&to, sizeof to) < 0) return errno;
    return guarded ? WORKED : arrived(at, SOCK_DGRAM);
}
static int connect_forbidden(void) {
    struct sockaddr_in to = inet(FORBIDDEN, 9);
    int outcome = OUTCOME(connect(101, (void *)&to, sizeof to));
    return outcome == ECONNREFUSED ? WORKED : outcome;
}
static int run_forbidden(void) {
    pid_t child = fork();
    if (!child) { execl("/bin/sh", "sh", "-c", "exit 42", (char *)0); _exit(errno); }
    return ran(child);
}
static int write_forbidden(void) {
    char path[256];
    snprintf(path, sizeof path, "%s/kept", getenv("RINGFENCE_DENIED"));
    return OUTCOME(open(path, O_WRONLY));
}
static int take_its_place(void) {
    struct sock_filter code[] = {{0x06, 0, 0, 0x7fff0000}};
    struct sock_fprog program = {1, code};
    return OUTCOME(syscall(SYS_seccomp, 1, 8, &program));
}
static int killed_send(void) { return after_the_guard(send_forbidden); }
static int killed_connect(void) { return after_the_guard(connect_forbidden); }
static int killed_exec(void) { return access("/bin/sh", X_OK) ? ABSENT : after_the_guard(run_forbidden); }
static int killed_write(void) { return after_the_guard(write_forbidden); }
static int killed_listener(void) { return after_the_guard(take_its_place); }

const struct attack review[] = {
    {"signal-thread-to-come", thread_to_come, RACE}, {"signal-group-joined-late", group_joined_late, RACE},
    {"connect-made-to-wait", made_to_wait, ON_GUARD}, {"guard-killed-then-send", killed_send, PLAIN},
    {"guard-killed-then-connect", killed_connect, PLAIN}, {"guard-killed-then-exec", killed_exec, PLAIN},
    {"guard-killed-then-write", killed_write, PLAIN}, {"guard-killed-then-own-listener", killed_listener, PLAIN},
    {0},
};
