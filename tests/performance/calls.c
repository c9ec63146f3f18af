/* What system calls cost: calls NAME ROUNDS prints nanoseconds a call, the best of forty short stretches
   (others on the machine only add, and a short one may pass between them).
   unlooked (getppid), connect (UDP), tcp (connect to a listener on loopback, blocking, with socket and close), open (open
   of a file for writing, and close), exec (/usr/bin/true, start to end), stream (sendmsg of 16 KiB on a TCP connection), pool
   (64 threads that connect by UDP at one time; a call of each). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in to;
static int stream = -1;
static long rounds;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}
static void *sink(void *fd) {
    static char room[1 << 18];
    while (read((int)(long)fd, room, sizeof room) > 0) {}
    return 0;
}
static struct sockaddr_in there;
static int listening;
static void start_listening(void) {
    socklen_t length = sizeof there;
    listening = socket(AF_INET, SOCK_STREAM, 0);
    there = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listening, (void *)&there, sizeof there) || listen(listening, 64) || getsockname(listening, (void *)&there, &length)) exit(3);
}
static void open_stream(void) {
    pthread_t id;
    start_listening();
    stream = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(stream, (void *)&there, sizeof there)) exit(4);
    pthread_create(&id, 0, sink, (void *)(long)accept(listening, 0, 0));
}
static void one_tcp(void) {
    struct linger reset = {1, 0}; /* leaves no port behind in TIME_WAIT */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&there, sizeof there)) exit(9);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(accept(listening, 0, 0));
    close(fd);
}
static char path[] = "/tmp/ringfence-calls-XXXXXX";
static void one_write(void) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) exit(10);
    close(fd);
}
static void unlooked(void) { syscall(SYS_getppid); }
static int datagram;
static void one_connect(void) {
    if (connect(datagram, (void *)&to, sizeof to)) exit(5);
}
static void one_exec(void) {
    int status;
    pid_t child = vfork();
    if (!child) { execl("/usr/bin/true", "true", (char *)0); _exit(127); }
    if (waitpid(child, &status, 0) != child || status) exit(6);
}
static void one_send(void) {
    static char data[16384];
    struct iovec piece = {data, sizeof data};
    struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1};
    if (sendmsg(stream, &header, 0) <= 0) exit(7);
}
static void *knocks(void *unused) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (long i = 0; i < rounds / 64; i++)
        if (connect(fd, (void *)&to, sizeof to)) exit(8);
    close(fd);
    return unused;
}
static void pool(void) {
    pthread_t ids[64];
    for (int i = 0; i < 64; i++) pthread_create(&ids[i], 0, knocks, 0);
    for (int i = 0; i < 64; i++) pthread_join(ids[i], 0);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *name = argv[1];
    rounds = atol(argv[2]);
    to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    datagram = socket(AF_INET, SOCK_DGRAM, 0);
    static const struct { const char *name; void (*call)(void); } table[] = {
        {"unlooked", unlooked}, {"connect", one_connect}, {"tcp", one_tcp}, {"open", one_write}, {"exec", one_exec}, {"stream", one_send},
    };
    void (*call)(void) = 0;
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) if (!strcmp(name, table[i].name)) call = table[i].call;
    if (!call && strcmp(name, "pool")) return 2;
    if (call == one_send) open_stream();
    if (call == one_tcp) start_listening();
    if (call == one_write) close(mkstemp(path));
    double best = 0;
    for (int stretch = 0; stretch < 40; stretch++) {
        double begun = now();
        if (!call) pool();
        else for (long i = 0; i < rounds; i++) call();
        double each = (now() - begun) / (double)rounds;
        if (!stretch || each < best) best = each;
    }
    if (call == one_write) unlink(path);
    printf("%.1f\n", best);
    return 0;
}
