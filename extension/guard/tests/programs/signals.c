/* What signals do to calls that wait: each line names a call, how a signal came, and what the program saw of it. With
   "storm" a signal every 300 us while connections are made, with a handler that restarts calls or not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64];
static atomic_int handled, handled_in_time, helped, done;
static atomic_long caller;
static pthread_t caller_thread;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void rest(double seconds) {
    struct timespec t = {seconds, (seconds - (long)seconds) * 1e9};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t)) {}
}

static void note(int signal) {
    (void)signal;
    handled++;
    if (!helped && syscall(SYS_gettid) == caller) handled_in_time = 1;
}

/* Where a call waits, and how it can go on. */
struct place {
    int file, other, listener;
};

static int full_listener(int family, struct sockaddr *address, socklen_t length) {
    int listener = socket(family, SOCK_STREAM, 0), filling;
    bind(listener, address, length), listen(listener, 0);
    getsockname(listener, address, &length);
    filling = socket(family, SOCK_STREAM, 0);
    if (connect(filling, address, length)) perror("fill");
    return listener;
}

static struct sockaddr_in tcp_address;
static struct sockaddr_un unix_address;
static char fifo[96];

static int connect_tcp(struct place *at) {
    return connect(at->file, (void *)&tcp_address, sizeof tcp_address);
}
static int connect_unix(struct place *at) {
    return connect(at->file, (void *)&unix_address, sizeof unix_address);
}
static char data[1 << 16];
static int send_some(struct place *at) {
    struct iovec piece = {data, sizeof data};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    return sendmsg(at->file, &message, 0);
}
static int send_datagram(struct place *at) {
    return sendto(at->file, data, 100, 0, (void *)&unix_address, sizeof unix_address);
}
static int open_fifo(struct place *at) {
    (void)at;
    return open(fifo, O_WRONLY);
}

static void lay_tcp(struct place *at) {
    tcp_address = (struct sockaddr_in){AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    at->listener = full_listener(AF_INET, (void *)&tcp_address, sizeof tcp_address);
    at->file = socket(AF_INET, SOCK_STREAM, 0);
}
static void lay_unix(struct place *at) {
    unix_address.sun_family = AF_UNIX;
    snprintf(unix_address.sun_path, sizeof unix_address.sun_path, "%s/s%d", folder, getpid());
    at->listener = full_listener(AF_UNIX, (void *)&unix_address, sizeof unix_address);
    at->file = socket(AF_UNIX, SOCK_STREAM, 0);
}
static long laid, received;
static void lay_pair(struct place *at) {
    int pair[2];
    long length;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    at->file = pair[0], at->other = pair[1];
    while ((length = send(at->file, data, sizeof data, MSG_DONTWAIT)) > 0) laid += length;
}
static void lay_datagrams(struct place *at) {
    unix_address.sun_family = AF_UNIX;
    snprintf(unix_address.sun_path, sizeof unix_address.sun_path, "%s/d%d", folder, getpid());
    at->other = socket(AF_UNIX, SOCK_DGRAM, 0);
    at->file = socket(AF_UNIX, SOCK_DGRAM, 0);
    bind(at->other, (void *)&unix_address, sizeof unix_address);
    while (sendto(at->file, data, 100, MSG_DONTWAIT, (void *)&unix_address, sizeof unix_address) > 0) laid += 100;
}
static void lay_fifo(struct place *at) {
    (void)at;
    snprintf(fifo, sizeof fifo, "%s/f%d", folder, getpid());
    mkfifo(fifo, 0600);
}

static void accept_all(struct place *at) {
    while (accept(at->listener, 0, 0) >= 0) {}
}
static char into[1 << 16];
static void drain(struct place *at) {
    long length;
    while ((length = recv(at->other, into, sizeof into, 0)) > 0) received += length;
}
/* Room for some of a message, not for all. */
static void drain_a_part(struct place *at) {
    long length;
    while (received < 40000 && (length = recv(at->other, into, 40000 - received, 0)) > 0) received += length;
}
static void read_fifo(struct place *at) {
    char into[16];
    at->other = open(fifo, O_RDONLY);
    while (read(at->other, into, sizeof into) > 0) {}
}

static const struct call {
    const char *name;
    void (*lay)(struct place *);
    int (*make)(struct place *);
    void (*help)(struct place *);
    void (*help_a_little)(struct place *);
} CALLS[] = {
    {"connect TCP", lay_tcp, connect_tcp, accept_all, 0},
    {"connect AF_UNIX", lay_unix, connect_unix, accept_all, 0},
    {"sendmsg", lay_pair, send_some, drain, 0},
    {"sendmsg in parts", lay_pair, send_some, drain, drain_a_part},
    {"sendto", lay_datagrams, send_datagram, drain, 0},
    {"open FIFO", lay_fifo, open_fifo, read_fifo, 0},
};

enum { PROCESS, THREAD, ALARM };

struct trial {
    const struct call *call;
    struct place place;
    int signal, way, quiet;
};

/* Waits until the calling thread waits: then it has not run for a while. */
static void until_it_waits(void) {
    char path[64], line[256];
    long switches = -1, before;
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", caller);
    for (int same = 0; same < 5;) {
        rest(0.03);
        FILE *status = fopen(path, "r");
        char state = 0;
        before = switches, switches = 0;
        while (status && fgets(line, sizeof line, status)) {
            sscanf(line, "State: %c", &state);
            long count;
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1) switches += count;
        }
        if (status) fclose(status);
        same = state != 'R' && switches == before ? same + 1 : 0;
    }
}

static void *disturb(void *given) {
    struct trial *trial = given;
    until_it_waits();
    if (trial->call->help_a_little) {
        trial->call->help_a_little(&trial->place);
        until_it_waits();
    }
    if (trial->way == THREAD) pthread_kill(caller_thread, trial->signal);
    if (trial->way == PROCESS) kill(getpid(), trial->signal);
    if (trial->way == ALARM) setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 1000}}, 0);
    /* One that is not to be handled gets some time to be, wrongly. */
    for (double end = now() + (trial->quiet ? 0.8 : 10); !handled && now() < end;) rest(0.02);
    rest(0.2);
    helped = 1;
    if (!done) trial->call->help(&trial->place);
    return 0;
}

static void *sleep_on(void *given) {
    struct pollfd none;
    poll(&none, 0, -1);
    return given;
}

static void *call_elsewhere(void *given) {
    struct trial *trial = given;
    long returned;
    caller_thread = pthread_self();
    caller = syscall(SYS_gettid);
    returned = trial->call->make(&trial->place);
    if (returned < 0) returned = -errno;
    done = 1;
    return (void *)returned;
}

static const struct setting {
    const char *name;
    int signal, flags, way, threads, blocked, main, limit, unhandled;
} SETTINGS[] = {
    {"kill, interrupting", SIGUSR1, 0, PROCESS, 0, 0, 1, 0, 0},
    {"kill, restarting", SIGUSR1, SA_RESTART, PROCESS, 0, 0, 1, 0, 0},
    {"kill, interrupting, others sleep", SIGUSR1, 0, PROCESS, 3, 0, 1, 0, 0},
    {"kill, restarting, others sleep", SIGUSR1, SA_RESTART, PROCESS, 3, 0, 1, 0, 0},
    {"pthread_kill, interrupting, others sleep", SIGUSR1, 0, THREAD, 3, 0, 1, 0, 0},
    {"pthread_kill, restarting, others sleep", SIGUSR1, SA_RESTART, THREAD, 3, 0, 1, 0, 0},
    {"pthread_kill of a thread, interrupting", SIGUSR1, 0, THREAD, 1, 0, 0, 0, 0},
    {"pthread_kill of a thread, restarting", SIGUSR1, SA_RESTART, THREAD, 1, 0, 0, 0, 0},
    {"kill, taken by the main thread", SIGUSR1, 0, PROCESS, 1, 0, 0, 0, 0},
    {"alarm, interrupting", SIGALRM, 0, ALARM, 1, 0, 1, 0, 0},
    {"alarm, restarting", SIGALRM, SA_RESTART, ALARM, 1, 0, 1, 0, 0},
    {"alarm, restarting, with a time limit", SIGALRM, SA_RESTART, ALARM, 1, 0, 1, 1, 0},
    {"blocked", SIGUSR1, 0, PROCESS, 0, 1, 1, 0, 0},
    {"ignored by default", SIGCHLD, 0, PROCESS, 1, 0, 1, 0, 1},
    {"stopped and continued", SIGTSTP, 0, PROCESS, 0, 0, 1, 0, 1},
};

static void try(const struct call *call, const struct setting *setting) {
    struct trial trial = {.call = call, .signal = setting->signal, .way = setting->way,
                          .quiet = setting->blocked || setting->unhandled};
    struct sigaction action = {.sa_handler = note, .sa_flags = setting->flags};
    sigset_t one;
    pthread_t thread, other;
    void *result;
    call->lay(&trial.place);
    if (setting->limit)
        setsockopt(trial.place.file, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){20, 0}, sizeof(struct timeval));
    if (!setting->unhandled) sigaction(setting->signal, &action, 0);
    sigemptyset(&one), sigaddset(&one, setting->signal);
    /* The thread that disturbs takes no signal itself. */
    pthread_sigmask(SIG_BLOCK, &one, 0);
    caller_thread = pthread_self();
    caller = syscall(SYS_gettid);
    if (setting->main) pthread_create(&other, 0, disturb, &trial);
    if (!setting->blocked) pthread_sigmask(SIG_UNBLOCK, &one, 0);
    for (int n = 0; n < setting->threads; n++) pthread_create(&thread, 0, sleep_on, 0);
    if (setting->main) {
        result = call_elsewhere(&trial);
    } else {
        caller = 0;
        pthread_create(&thread, 0, call_elsewhere, &trial);
        while (!caller) rest(0.001);
        pthread_sigmask(SIG_BLOCK, &one, 0);
        pthread_create(&other, 0, disturb, &trial);
        pthread_sigmask(SIG_UNBLOCK, &one, 0);
        pthread_join(thread, &result);
    }
    long returned;
    int error = -(long)result;
    printf("%s, %s: %s", call->name, setting->name, error <= 0 ? "done" : strerrorname_np(error) ?: "UNKNOWN");
    /* All that was sent arrives, and nothing else. */
    if (laid > 0) {
        rest(0.2);
        while ((returned = recv(trial.place.other, into, sizeof into, MSG_DONTWAIT)) > 0) received += returned;
        returned = (long)result > 0 ? (long)result : 0;
        printf(", %s %s", returned > 0 && returned < 60000 && trial.call->make == send_some ? "in part" : "",
               received == laid + returned ? "sent once" : "SENT OTHERWISE");
    }
    printf(", handled %d%s\n", handled, handled_in_time ? " while it waited" : "");
    fflush(stdout);
    _exit(0);
}

/* In a process of its own each, all at one time. A stopped one is continued. */
static int all(void) {
    enum { MOST = 128 };
    int pipes[MOST], count = 0;
    char shown[512];
    for (unsigned c = 0; c < sizeof CALLS / sizeof *CALLS; c++)
        for (unsigned s = 0; s < sizeof SETTINGS / sizeof *SETTINGS; s++) {
            int pair[2];
            if (SETTINGS[s].limit && CALLS[c].make == open_fifo) continue;
            if (pipe(pair)) return perror("pipe"), 1;
            fflush(stdout);
            pid_t child = fork();
            if (child == 0) {
                dup2(pair[1], 1);
                try(CALLS + c, SETTINGS + s);
            }
            close(pair[1]);
            pipes[count++] = pair[0];
            if (SETTINGS[s].signal == SIGTSTP) {
                int status;
                /* A program that is never stopped ends. */
                waitpid(child, &status, WUNTRACED);
                dprintf(1, "%s: %s\n", CALLS[c].name, WIFSTOPPED(status) ? "stopped" : "not stopped");
                kill(child, SIGCONT);
            }
        }
    for (int n = 0; n < count; n++)
        for (ssize_t length; (length = read(pipes[n], shown, sizeof shown)) > 0;)
            if (write(1, shown, length) != length) return 1;
    return 0;
}

static atomic_int accepted;

static void *accept_and_count(void *given) {
    int one;
    while ((one = accept(*(int *)given, 0, 0)) >= 0) {
        char byte;
        if (recv(one, &byte, 1, 0) == 1) accepted++;
        close(one);
    }
    return 0;
}

static void *send_signals(void *given) {
    struct timespec tick = {0, 300000};
    while (!done) {
        pthread_kill(caller_thread, SIGUSR1);
        if (given) kill(getpid(), SIGUSR2);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, 0);
    }
    return 0;
}

/* Connections that are made under a storm of signals, to the thread and to the process. Each carries one byte. */
static int storm(int family, int flags) {
    int wrong = 0, interrupted = 0, made = 0, errors[600] = {0};
    struct sockaddr_in in = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s/storm%d", folder, flags);
    struct sockaddr *address = family == AF_INET ? (void *)&in : (void *)&un;
    socklen_t length = family == AF_INET ? sizeof in : sizeof un;
    int listener = socket(family, SOCK_STREAM, 0);
    bind(listener, address, length), listen(listener, 64), getsockname(listener, address, &length);
    sigset_t both;
    pthread_t other;
    sigemptyset(&both), sigaddset(&both, SIGUSR1), sigaddset(&both, SIGUSR2);
    struct sigaction action = {.sa_handler = note, .sa_flags = flags};
    sigaction(SIGUSR1, &action, 0), sigaction(SIGUSR2, &action, 0);
    pthread_sigmask(SIG_BLOCK, &both, 0);
    done = 0;
    accepted = 0;
    caller_thread = pthread_self();
    pthread_create(&other, 0, accept_and_count, &listener);
    pthread_create(&other, 0, send_signals, &done);
    pthread_sigmask(SIG_UNBLOCK, &both, 0);
    pthread_create(&other, 0, sleep_on, 0);
    for (double end = now() + 3; now() < end; made++) {
        int one;
        while ((one = socket(family, SOCK_STREAM, 0)) < 0 && errno == EINTR) interrupted++;
        int returned = connect(one, address, length);
        /* One that a signal broke off goes on by itself (TCP), or has not begun. */
        while (returned < 0 && errno == EINTR) {
            interrupted++;
            returned = connect(one, address, length);
            if (returned < 0 && errno == EISCONN) returned = 0;
        }
        if (returned < 0) wrong++, errors[errno < 600 ? errno : 0]++, made--;
        else
            while (send(one, "x", 1, 0) < 0 && errno == EINTR) {}
        close(one);
    }
    done = 1;
    for (double end = now() + 20; accepted < made && now() < end;) rest(0.01);
    rest(0.1);
    printf("wrong %d, lost %d, %s", wrong, made - accepted, made > 10 ? "many" : "few");
    for (int n = 0; n < 600; n++)
        if (errors[n]) printf(", %d of %d", errors[n], n);
    printf("\n");
    fprintf(stderr, "made %d, interrupted %d, handled %d\n", made, interrupted, handled);
    return 0;
}

static int wait_errors[600];
static atomic_int ended, spoiled;

/* Connects that wait for their turn, over and over. */
static void *connect_and_wait(void *flags) {
    while (!done) {
        int one = socket(AF_UNIX, SOCK_STREAM, 0);
        if (one < 0) continue;
        if (connect(one, (void *)&unix_address, sizeof unix_address) == 0) ended++;
        else if (flags || errno != EINTR) {
            spoiled++;
            wait_errors[errno < 600 ? errno : 0]++;
        }
        close(one);
    }
    return 0;
}

static void *spin(void *given) {
    while (!done) {}
    return given;
}

static void *nap(void *given) {
    struct pollfd none;
    while (!done) poll(&none, 0, 1);
    return given;
}

static void *let_in(void *listener) {
    while (!done) {
        rest(0.02);
        close(accept(*(int *)listener, 0, 0));
    }
    return 0;
}

/* Threads that wait in calls, in a process whose signals may as well be taken by others: no call ends in a number that is
   no error, and one that is to be made again is. */
static void contend(int flags, void *(*other)(void *)) {
    struct place at;
    pthread_t thread, waiting[3];
    sigset_t both;
    struct sigaction action = {.sa_handler = note, .sa_flags = flags};
    lay_unix(&at);
    sigemptyset(&both), sigaddset(&both, SIGUSR1), sigaddset(&both, SIGUSR2);
    sigaction(SIGUSR1, &action, 0), sigaction(SIGUSR2, &action, 0);
    pthread_sigmask(SIG_BLOCK, &both, 0);
    done = ended = spoiled = 0;
    pthread_create(&thread, 0, let_in, &at.listener);
    pthread_sigmask(SIG_UNBLOCK, &both, 0);
    for (int n = 0; n < 3; n++) pthread_create(&waiting[n], 0, connect_and_wait, flags ? &done : 0);
    pthread_create(&thread, 0, other, 0);
    caller_thread = waiting[0];
    for (double end = now() + 4; now() < end;) {
        kill(getpid(), SIGUSR2), pthread_kill(waiting[0], SIGUSR1);
        /* Some of the time the signals come faster than they can be taken, some of the time each is waited for. */
        if ((long)(now() * 2) % 2) rest(0.0003);
        else rest(0.03);
    }
    done = 1;
    printf("%d are wrong, %s", spoiled, ended > 20 ? "many" : "few");
    for (int n = 0; n < 600; n++)
        if (wait_errors[n]) printf(", %d of %d", wait_errors[n], n);
    printf("\n");
    fflush(stdout);
    _exit(0);
}

static int contend_all(void) {
    for (int n = 0; n < 4; n++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) contend(n % 2 ? SA_RESTART : 0, n / 2 ? spin : nap);
        waitpid(child, 0, 0);
    }
    return 0;
}

static atomic_int broken_off;

static void *connect_once(void *given) {
    int one = socket(AF_UNIX, SOCK_STREAM, 0);
    int returned = connect(one, (void *)&unix_address, sizeof unix_address);
    if (returned < 0 && errno == EINTR) broken_off++;
    return given;
}

/* More that wait than the guard has threads for: those whose turn has not come take their signals too. */
static int crowd(void) {
    enum { CROWD = 110 };
    struct place at;
    pthread_t threads[CROWD];
    struct sigaction action = {.sa_handler = note};
    lay_unix(&at);
    sigaction(SIGUSR1, &action, 0);
    for (int n = 0; n < CROWD; n++) pthread_create(threads + n, 0, connect_once, 0);
    rest(1);
    for (int n = 0; n < CROWD; n++) pthread_kill(threads[n], SIGUSR1);
    for (double end = now() + 10; broken_off < CROWD && now() < end;) rest(0.05);
    printf("%d of %d\n", broken_off, CROWD);
    fflush(stdout);
    _exit(0);
}

/* A connect that a signal ends goes on by itself, and the socket is an ordinary one then: its peer hears of its end. */
static int leave(void) {
    struct place at;
    pthread_t thread;
    struct trial trial = {.call = CALLS, .signal = SIGUSR1, .way = THREAD};
    struct sigaction action = {.sa_handler = note};
    char byte;
    lay_tcp(&at);
    sigaction(SIGUSR1, &action, 0);
    caller = syscall(SYS_gettid);
    caller_thread = pthread_self();
    trial.place = at, trial.place.listener = -1;
    pthread_create(&thread, 0, disturb, &trial);
    int returned = connect_tcp(&at);
    printf("%s", returned < 0 ? strerrorname_np(errno) : "connected");
    done = 1;
    pthread_join(thread, 0);
    int first = accept(at.listener, 0, 0);
    struct pollfd out = {at.file, POLLOUT, 0};
    printf(", %s", poll(&out, 1, 20000) == 1 ? "ready" : "not ready");
    int second = accept(at.listener, 0, 0);
    printf(", sent %zd", send(at.file, "x", 1, 0));
    close(at.file);
    struct pollfd in = {second, POLLIN, 0};
    recv(second, &byte, 1, 0);
    printf(", %s\n", poll(&in, 1, 10000) == 1 && recv(second, &byte, 1, 0) == 0 ? "ended" : "NOT ENDED");
    close(first);
    return 0;
}

int main(int argc, char **argv) {
    snprintf(folder, sizeof folder, "%s", argv[1]);
    if (mkdir(folder, 0700)) return perror(folder), 2;
    if (argc < 3) return all();
    if (!strcmp(argv[2], "contend")) return contend_all();
    if (!strcmp(argv[2], "leave")) return leave();
    if (!strcmp(argv[2], "crowd")) return crowd();
    storm(AF_INET, 0), storm(AF_INET, SA_RESTART), storm(AF_UNIX, 0), storm(AF_UNIX, SA_RESTART);
    return 0;
}
