/* attack --list, or attack [--tries N] [--pinned] NAME: prints "worked", "refused ERRNO" or "absent". */
#include "attack.h"

int tries = 2000, pinned, guarded;
const char *self;

struct sockaddr_in inet(uint32_t address, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(address);
    return to;
}

struct sockaddr_in6 mapped(uint32_t address, int port) {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    uint32_t network = htonl(address);
    to.sin6_addr.s6_addr[10] = to.sin6_addr.s6_addr[11] = 0xff;
    memcpy(to.sin6_addr.s6_addr + 12, &network, 4);
    return to;
}

int receiver(int kind, uint32_t address, int *port) {
    struct sockaddr_in at = inet(address, port ? *port : 0);
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK, 0), room = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (void *)&at, sizeof at) || (kind == SOCK_STREAM && listen(fd, 64)) ||
        getsockname(fd, (void *)&at, &length)) {
        printf("no receiver: %s\n", strerror(errno));
        exit(3);
    }
    if (port) *port = ntohs(at.sin_port);
    return fd;
}

int arrived(int fd, int kind) {
    struct pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, guarded ? 100 : 5000) < 1) return NOT_SEEN;
    char byte[64];
    return OUTCOME(kind == SOCK_STREAM ? accept(fd, 0, 0) : (int)recv(fd, byte, sizeof byte, 0));
}

int in_child(int (*run)(void)) {
    int pipes[2], outcome = NOT_SEEN, status;
    if (pipe(pipes)) return errno;
    pid_t child = fork();
    if (!child) {
        outcome = run();
        _exit(write(pipes[1], &outcome, sizeof outcome) != sizeof outcome);
    }
    close(pipes[1]);
    if (read(pipes[0], &outcome, sizeof outcome) != sizeof outcome) outcome = NOT_SEEN;
    close(pipes[0]);
    waitpid(child, &status, 0);
    return outcome;
}

/* The marked program is this one with the name "mark": it ends with 42. An exec that is refused ends with its errno. */
int ran(pid_t child) {
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return errno;
    if (!WIFEXITED(status)) return NOT_SEEN;
    return WEXITSTATUS(status) == 42 ? WORKED : WEXITSTATUS(status) ? WEXITSTATUS(status) : NOT_SEEN;
}

int share_of(int all) { return tries < ALL_TRIES ? (all + 3) / 4 : all; }

double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

void pin(int processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* The marked program's message: that it runs, and reaches the network. */
static struct sockaddr_in marked;
static void *say(void *unused) {
    if (sendto(socket(AF_INET, SOCK_DGRAM, 0), "m", 1, 0, (void *)&marked, sizeof marked) == 1) _exit(42);
    _exit(43);
    return unused;
}
/* The same from a thread whose leader has ended, so that the process looks as if it were gone. */
static int say_without_leader(void) {
    pthread_t id;
    if (pthread_create(&id, 0, say, 0)) return 44;
    syscall(SYS_exit, 0);
    return 44;
}

static const struct attack *const tables[] = {network, sockets, programs, signals, others, opens,
                                             floods, races, review, review2, review3, stalls,
                                             architecture, memories};

int main(int argc, char **argv) {
    self = argv[0];
    const char *base = strrchr(argv[0], '/');
    if (!strcmp(base ? base + 1 : argv[0], "mark") || (argc > 1 && !strcmp(argv[1], "mark"))) {
        if (argc > 2 && !strcmp(argv[2], "late")) return sleep(6), 42;
        /* For races: a datagram to the port says that the wrong program runs and reaches the network. */
        if (argc > 1 && !strcmp(argv[1], "beat")) return beat();
        if (argc > 1 && !strcmp(argv[1], "chain")) return be_a_chain();
        if (argc > 1 && !strcmp(argv[1], "unread")) return be_unread();
        int port = argc > 2 ? atoi(argv[2]) : 0;
        if (!port) return 42;
        marked = inet(ALLOWED, port);
        if (argc > 3) return say_without_leader();
        say(0);
    }
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, 0, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--tries")) { tries = atoi(argv[++i]); continue; }
        if (!strcmp(argv[i], "--pinned")) { pin(0); pinned = 1; continue; }
        if (!strcmp(argv[i], "--guarded")) { guarded = 1; continue; }
        for (unsigned t = 0; t < sizeof tables / sizeof *tables; t++)
            for (const struct attack *attack = tables[t]; attack->name; attack++) {
                if (!strcmp(argv[i], "--list")) {
                    printf("%s %s\n", attack->name, (const char *[]){"plain", "race", "guard", "stall"}[attack->kind]);
                } else if (!strcmp(argv[i], attack->name)) {
                    int outcome = attack->run();
                    if (outcome == WORKED) return puts("worked"), 0;
                    if (outcome == ABSENT) return puts("absent"), 0;
                    return printf("refused %d\n", outcome), 0;
                }
            }
    }
    return argc > 1 && !strcmp(argv[1], "--list") ? 0 : 2;
}
