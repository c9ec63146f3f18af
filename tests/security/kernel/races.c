/* One thread makes a call again and again while another changes what it points to. Worked: something forbidden was
   reached at least once. Without the guard they stop at the first success, and go on for half a minute without one: on a
   busy machine both threads seldom run at a time. */
#include "attack.h"

static volatile int over, flipped;
static int port, good, bad, target = 300, first, second;
static struct sockaddr_in shared;
static struct iovec piece = {"x", 1};
static struct msghdr header;
static struct mmsghdr many;
static char path[256], allowed[] = "/usr/bin/true", forbidden[256];
enum what { ADDRESS, FAMILY, NUMBER, POINTER, LENGTH, PATH, BINDING };
static enum what what;

static void wait_a_little(unsigned i) { for (volatile unsigned pause = 0; pause < i * 7 % 3000; pause++) {} }
static void *flip(void *unused) {
    static struct sockaddr_in evil;
    evil = inet(FORBIDDEN, port);
    if (!pinned) pin(1);
    for (unsigned i = 0; !over; i++) {
        int odd = i & 1;
        switch (what) {
        case ADDRESS: ((volatile struct sockaddr_in *)&shared)->sin_addr.s_addr = htonl(odd ? FORBIDDEN : ALLOWED); break;
        case FAMILY: ((volatile struct sockaddr_in *)&shared)->sin_family = odd ? AF_INET : AF_UNIX; break;
        case NUMBER: dup2(odd ? second : first, target); break;
        case POINTER: *(void *volatile *)&header.msg_name = odd ? (void *)&evil : (void *)&shared; break;
        case LENGTH: *(volatile socklen_t *)&header.msg_namelen = odd ? sizeof evil : 0; break;
        case PATH: memcpy(path, odd ? forbidden : allowed, odd ? strlen(forbidden) + 1 : sizeof allowed); break;
        case BINDING: ((volatile struct sockaddr_in *)&shared)->sin_addr.s_addr = htonl(odd ? 0 : ALLOWED); break;
        }
        flipped = 1;
        if (pinned) { if (i % 3 == 0) sched_yield(); } else wait_a_little(i);
    }
    return unused;
}

static int drained(int fd) {
    char byte[8];
    int count = 0;
    while (recv(fd, byte, sizeof byte, 0) > 0) count++;
    return count;
}
static int race(enum what changes, int (*try)(void), int share) {
    port = 0, what = changes;
    good = receiver(SOCK_DGRAM, ALLOWED, &port), bad = receiver(SOCK_DGRAM, FORBIDDEN, &port);
    shared = inet(changes == FAMILY || changes == NUMBER || changes == LENGTH ? FORBIDDEN : ALLOWED, port);
    header = (struct msghdr){.msg_name = &shared, .msg_namelen = sizeof shared, .msg_iov = &piece, .msg_iovlen = 1};
    many.msg_hdr = header;
    ssize_t length = readlink("/proc/self/exe", forbidden, sizeof forbidden - 1);
    forbidden[length < 0 ? 0 : length] = 0;
    memcpy(path, allowed, sizeof allowed);
    first = socket(AF_UNIX, SOCK_DGRAM, 0), second = socket(AF_INET, SOCK_DGRAM, 0);
    if (!pinned) pin(0);
    pthread_t id;
    pthread_create(&id, 0, flip, 0);
    while (!flipped) sched_yield();
    int got = 0, limit = tries / share;
    double until = now() + 30;
    for (int i = 0; guarded ? i < limit : !got && now() < until; i++) {
        got += try();
        if (i % 64 == 0) sched_yield(), got += drained(bad), drained(good);
    }
    over = 1;
    pthread_join(id, 0);
    if (what != PATH) got += drained(bad);
    return got ? WORKED : NOT_SEEN;
}

static int one_connect(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), seen = 0;
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    if (!syscall(SYS_connect, fd, &shared, sizeof shared) && !getpeername(fd, (void *)&peer, &length))
        seen = peer.sin_addr.s_addr == htonl(FORBIDDEN);
    close(fd);
    return seen;
}
static int one_number(void) {
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return !syscall(SYS_connect, target, &to, sizeof to);
}
static int one_sendto(void) { syscall(SYS_sendto, second, "x", 1, 0, &shared, sizeof shared); return 0; }
static int one_sendto_number(void) {
    struct sockaddr_in to = inet(FORBIDDEN, port);
    syscall(SYS_sendto, target, "x", 1, 0, &to, sizeof to);
    return 0;
}
static int one_sendmsg(void) { syscall(SYS_sendmsg, second, &header, 0); return 0; }
static int one_sendmmsg(void) { syscall(SYS_sendmmsg, second, &many, 1, 0); return 0; }
static int one_bind(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), seen = 0;
    struct sockaddr_in mine;
    shared.sin_port = htons(12768 + getpid() % 20000);
    socklen_t length = sizeof mine;
    if (!syscall(SYS_bind, fd, &shared, sizeof shared) && !getsockname(fd, (void *)&mine, &length)) seen = !mine.sin_addr.s_addr;
    close(fd);
    return seen;
}
static int acquainted; /* whether the process makes a supervised call before its exec, so that it was looked at */
static char *leaderless; /* the marked program's last argument: its first thread is to end at once */
static int become(void *at) {
    if (acquainted) {
        struct sockaddr_in to = inet(ALLOWED, port);
        syscall(SYS_connect, socket(AF_INET, SOCK_DGRAM, 0), &to, sizeof to);
    }
    char *arguments[] = {"mark", "mark", at, leaderless, 0};
    syscall(SYS_execve, path, arguments, (char *[]){0});
    _exit(1);
}
static char stack[65536];
static int one_exec(int sharing) {
    char number[16];
    snprintf(number, sizeof number, "%d", port);
    pid_t child = clone(become, stack + sizeof stack, CLONE_VM | sharing | SIGCHLD, number);
    if (child > 0) waitpid(child, 0, 0);
    return drained(good);
}
static int one_vfork(void) { return one_exec(CLONE_VFORK); }
static int one_shared(void) { return one_exec(0); }
static int one_acquainted(void) { acquainted = 1; return one_exec(0); }
static int one_leaderless(void) { leaderless = "leaderless"; return one_exec(0); }
/* Renamed under the guard's eyes: an allowed program's name becomes a link to another. */
static int one_link(void) {
    static unsigned i;
    char from[64], number[16];
    snprintf(from, sizeof from, "/tmp/ringfence-race-%d", getpid());
    snprintf(number, sizeof number, "%d", port);
    if (!i++) unlink(from);
    pid_t swapper = fork();
    if (!swapper) {
        for (int k = 0; k < 20; k++) {
            char next[80];
            snprintf(next, sizeof next, "%s-%d", from, k & 1);
            unlink(next);
            if (symlink(k & 1 ? forbidden : allowed, next)) _exit(1);
            rename(next, from);
        }
        _exit(0);
    }
    for (int k = 0; k < 4; k++) {
        pid_t child = fork();
        if (!child) { execl(from, "mark", "mark", number, (char *)0); _exit(1); }
        waitpid(child, 0, 0);
    }
    waitpid(swapper, 0, 0);
    int seen = drained(good);
    unlink(from);
    return seen;
}
#define RACES(name, changes, one, share) static int name(void) { return race(changes, one, share); }
RACES(address_connect, ADDRESS, one_connect, 1)
RACES(family_connect, FAMILY, one_connect, 1)
RACES(number_connect, NUMBER, one_number, 1)
RACES(number_sendto, NUMBER, one_sendto_number, 1)
RACES(address_sendto, ADDRESS, one_sendto, 1)
RACES(address_sendmsg, ADDRESS, one_sendmsg, 1)
RACES(pointer_sendmsg, POINTER, one_sendmsg, 1)
RACES(length_sendmsg, LENGTH, one_sendmsg, 1)
RACES(address_sendmmsg, ADDRESS, one_sendmmsg, 1)
RACES(address_bind, BINDING, one_bind, 1)
RACES(path_vfork, PATH, one_vfork, 20)
RACES(path_shared, PATH, one_shared, 20)
RACES(path_acquainted, PATH, one_acquainted, 20)
RACES(path_leaderless, PATH, one_leaderless, 20)
RACES(link_exec, FAMILY, one_link, 100)

const struct attack races[] = {
    {"race-connect-address", address_connect, RACE}, {"race-connect-family", family_connect, RACE},
    {"race-connect-descriptor", number_connect, RACE}, {"race-sendto-descriptor", number_sendto, RACE},
    {"race-sendto-address", address_sendto, RACE}, {"race-sendmsg-address", address_sendmsg, RACE},
    {"race-sendmsg-pointer", pointer_sendmsg, RACE}, {"race-sendmsg-length", length_sendmsg, RACE},
    {"race-sendmmsg-address", address_sendmmsg, RACE}, {"race-bind-address", address_bind, RACE},
    {"race-exec-path-vfork", path_vfork, RACE}, {"race-exec-path-shared", path_shared, RACE},
    {"race-exec-path-acquainted", path_acquainted, RACE}, {"race-exec-link", link_exec, RACE},
    {"race-exec-path-leaderless", path_leaderless, RACE},
    {0},
};
