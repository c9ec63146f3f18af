/* Ways to a forbidden address (127.0.0.2): an attack has worked when something arrives there. */
#include "attack.h"
#include <netinet/ip.h>

static int port, at;

static int to_forbidden(int kind) {
    port = 0;
    return receiver(kind, FORBIDDEN, &port);
}

static int check(long result, int kind) {
    int error = errno, seen = arrived(at, kind);
    return seen == WORKED ? WORKED : result < 0 ? error : NOT_SEEN;
}

static int connect_plain(int kind) {
    at = to_forbidden(kind);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    int fd = socket(AF_INET, kind, 0);
    long done = syscall(SYS_connect, fd, &to, sizeof to);
    if (!done && kind == SOCK_DGRAM) done = write(fd, "x", 1);
    return check(done, kind);
}
static int connect_udp(void) { return connect_plain(SOCK_DGRAM); }
static int connect_tcp(void) { return connect_plain(SOCK_STREAM); }
static int connect_udp_child(void) { return in_child(connect_udp); }
static int connect_tcp_child(void) { return in_child(connect_tcp); }

static int connect_six(int kind) {
    at = to_forbidden(kind);
    struct sockaddr_in6 to = mapped(FORBIDDEN, port);
    int fd = socket(AF_INET6, kind, 0);
    if (fd < 0) return ABSENT;
    long done = connect(fd, (void *)&to, sizeof to);
    if (!done && kind == SOCK_DGRAM) done = write(fd, "x", 1);
    return check(done, kind);
}
static int mapped_udp(void) { return connect_six(SOCK_DGRAM); }
static int mapped_tcp(void) { return connect_six(SOCK_STREAM); }

static int mapped_scope(void) {
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in6 to = mapped(FORBIDDEN, port);
    to.sin6_scope_id = 1, to.sin6_flowinfo = 0xffffffff;
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    return fd < 0 ? ABSENT : check(sendto(fd, "x", 1, 0, (void *)&to, sizeof to), SOCK_DGRAM);
}

static int four_on_six(void) {
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    return fd < 0 ? ABSENT : check(sendto(fd, "x", 1, 0, (void *)&to, sizeof to), SOCK_DGRAM);
}

static int send_to(int family, int flags, socklen_t length) {
    at = to_forbidden(SOCK_DGRAM);
    char room[128] = {0};
    struct sockaddr_in to = inet(FORBIDDEN, port);
    to.sin_family = family;
    memcpy(room, &to, sizeof to);
    return check(syscall(SYS_sendto, socket(AF_INET, SOCK_DGRAM, 0), "x", 1, flags, room, length), SOCK_DGRAM);
}
static int sendto_plain(void) { return send_to(AF_INET, 0, 16); }
static int sendto_unspec(void) { return send_to(AF_UNSPEC, 0, 16); }
static int sendto_long(void) { return send_to(AF_INET, 0, 128); }
static int sendto_confirm(void) { return send_to(AF_INET, MSG_CONFIRM | MSG_NOSIGNAL, 16); }
static int sendto_wide_flags(void) {
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return check(syscall(SYS_sendto, socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 1ul << 40, &to, 16ul | 1ul << 40), SOCK_DGRAM);
}

static long message(int fd, struct sockaddr_in *to, int flags) {
    struct iovec piece = {"x", 1};
    struct msghdr header = {.msg_name = to, .msg_namelen = to ? sizeof *to : 0, .msg_iov = &piece, .msg_iovlen = 1};
    return syscall(SYS_sendmsg, fd, &header, flags);
}
static int sendmsg_plain(void) {
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return check(message(socket(AF_INET, SOCK_DGRAM, 0), &to, 0), SOCK_DGRAM);
}
static int sendmsg_over_connected(void) {
    at = to_forbidden(SOCK_DGRAM);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in good = inet(ALLOWED, port), to = inet(FORBIDDEN, port);
    if (connect(fd, (void *)&good, sizeof good)) return errno;
    return check(message(fd, &to, 0), SOCK_DGRAM);
}

static int many(int index) {
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in good = inet(ALLOWED, port), to = inet(FORBIDDEN, port);
    struct iovec piece = {"x", 1};
    struct mmsghdr all[8];
    memset(all, 0, sizeof all);
    for (int i = 0; i < 8; i++)
        all[i].msg_hdr = (struct msghdr){.msg_name = i == index ? &to : &good, .msg_namelen = sizeof to, .msg_iov = &piece, .msg_iovlen = 1};
    return check(syscall(SYS_sendmmsg, socket(AF_INET, SOCK_DGRAM, 0), all, 8, 0), SOCK_DGRAM);
}
static int sendmmsg_first(void) { return many(0); }
static int sendmmsg_last(void) { return many(7); }

static int reconnect(int kind) {
    int good_port = 0;
    receiver(kind, ALLOWED, &good_port);
    at = to_forbidden(kind);
    struct sockaddr_in good = inet(ALLOWED, good_port), to = inet(FORBIDDEN, port);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    int fd = socket(AF_INET, kind, 0);
    if (connect(fd, (void *)&good, sizeof good)) return errno;
    connect(fd, &none, sizeof none);
    long done = connect(fd, (void *)&to, sizeof to);
    if (!done && kind == SOCK_DGRAM) done = write(fd, "x", 1);
    return check(done, kind);
}
static int reconnect_udp(void) { return reconnect(SOCK_DGRAM); }
static int reconnect_tcp(void) { return reconnect(SOCK_STREAM); }

/* With a cookie from an earlier connection fast open carries data at once; without one it connects all the same. */
static int fast_open_sendto(void) {
    at = to_forbidden(SOCK_STREAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return check(sendto(socket(AF_INET, SOCK_STREAM, 0), "x", 1, 0x20000000, (void *)&to, sizeof to), SOCK_STREAM);
}
static int fast_open_sendmsg(void) {
    at = to_forbidden(SOCK_STREAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return check(message(socket(AF_INET, SOCK_STREAM, 0), &to, 0x20000000), SOCK_STREAM);
}
static int fast_open_sendmmsg(void) {
    at = to_forbidden(SOCK_STREAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    struct iovec piece = {"x", 1};
    struct mmsghdr one = {.msg_hdr = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &piece, .msg_iovlen = 1}};
    return check(syscall(SYS_sendmmsg, socket(AF_INET, SOCK_STREAM, 0), &one, 1, 0x20000000), SOCK_STREAM);
}
static int fast_open_connect(void) {
    int one = 1;
    return OUTCOME(setsockopt(socket(AF_INET, SOCK_STREAM, 0), 6, 30, &one, sizeof one));
}
static int fast_open_listen(void) {
    int one = 1;
    return OUTCOME(setsockopt(socket(AF_INET, SOCK_STREAM, 0), 6, 23, &one, sizeof one));
}

/* A socket that was there before the guard, made by the platform. */
static int inherited(int fd, int kind) {
    at = to_forbidden(kind);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    if (fcntl(fd, F_GETFD) < 0) return ABSENT;
    long done = connect(fd, (void *)&to, sizeof to);
    if (!done && kind == SOCK_DGRAM) done = write(fd, "x", 1);
    return check(done, kind);
}
static int inherited_udp(void) { return inherited(100, SOCK_DGRAM); }
static int inherited_tcp(void) { return inherited(101, SOCK_STREAM); }
static int inherited_sendto(void) {
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return fcntl(100, F_GETFD) < 0 ? ABSENT : check(sendto(100, "x", 1, 0, (void *)&to, sizeof to), SOCK_DGRAM);
}

static int accepted(void) {
    int good_port = 0, listening = receiver(SOCK_STREAM, ALLOWED, &good_port);
    at = to_forbidden(SOCK_STREAM);
    struct sockaddr_in good = inet(ALLOWED, good_port), to = inet(FORBIDDEN, port);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&good, sizeof good)) return errno;
    int taken = accept(listening, 0, 0);
    connect(taken, &none, sizeof none);
    return check(connect(taken, (void *)&to, sizeof to), SOCK_STREAM);
}

static int passed(void) {
    int pair[2], fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) return errno;
    char room[64] = {0};
    struct iovec piece = {"x", 1};
    struct msghdr header = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = room, .msg_controllen = CMSG_SPACE(4)};
    struct cmsghdr *control = CMSG_FIRSTHDR(&header);
    *control = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(control), &fd, 4);
    if (sendmsg(pair[0], &header, 0) < 0) return errno;
    char byte;
    struct iovec back = {&byte, 1};
    memset(room, 0, sizeof room);
    header = (struct msghdr){.msg_iov = &back, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    if (recvmsg(pair[1], &header, 0) < 0 || !(control = CMSG_FIRSTHDR(&header))) return errno;
    memcpy(&fd, CMSG_DATA(control), 4);
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return check(sendto(fd, "x", 1, 0, (void *)&to, sizeof to), SOCK_DGRAM);
}

static int duplicated(void) {
    int fd = dup2(socket(AF_INET, SOCK_DGRAM, 0), 300);
    at = to_forbidden(SOCK_DGRAM);
    struct sockaddr_in to = inet(FORBIDDEN, port);
    return check(sendto(fd, "x", 1, 0, (void *)&to, sizeof to), SOCK_DGRAM);
}

/* The thread's own table shows another socket under the number than the process's. */
static int unshared_thread(void) {
    if (syscall(SYS_unshare, CLONE_FILES)) return errno;
    return WORKED;
}
static int unshared_close_range(void) { return OUTCOME(syscall(SYS_close_range, 4000u, 4001u, 2u)); }
static int nothing(void *unused) { return (void)unused, 0; }
static int thread_with_own_table(void) {
    static char stack[16384];
    int flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    return OUTCOME(clone(nothing, stack + sizeof stack, flags, 0));
}

static int control_message(int level, int type, int size) {
    at = to_forbidden(SOCK_DGRAM);
    int good_port = 0;
    receiver(SOCK_DGRAM, ALLOWED, &good_port);
    struct sockaddr_in good = inet(ALLOWED, good_port);
    char room[64] = {0};
    struct iovec piece = {"x", 1};
    struct msghdr header = {.msg_name = &good, .msg_namelen = sizeof good, .msg_iov = &piece, .msg_iovlen = 1,
                            .msg_control = room, .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *control = CMSG_FIRSTHDR(&header);
    *control = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = level, .cmsg_type = type};
    return OUTCOME(sendmsg(socket(AF_INET, SOCK_DGRAM, 0), &header, 0));
}
static int packet_info(void) { return control_message(0, IP_PKTINFO, sizeof(struct in_pktinfo)); }
static int source_route_message(void) { return control_message(0, IP_RETOPTS, 4); }
static int source_route_option(void) {
    int outcome = OUTCOME(setsockopt(socket(AF_INET, SOCK_DGRAM, 0), 0, IP_OPTIONS, "\x83\x07\x04\x7f\0\0\2\0", 8));
    return outcome == EPERM && !guarded ? ABSENT : outcome;
}
static int routing_header(void) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    return fd < 0 ? ABSENT : OUTCOME(setsockopt(fd, 41, 57, "", 0));
}
static int zero_copy(void) {
    at = to_forbidden(SOCK_DGRAM);
    int good_port = 0, one = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);
    receiver(SOCK_DGRAM, ALLOWED, &good_port);
    struct sockaddr_in good = inet(ALLOWED, good_port);
    if (setsockopt(fd, SOL_SOCKET, 60, &one, sizeof one)) return ABSENT;
    return OUTCOME(message(fd, &good, 0x4000000));
}

/* Anybody could connect: what counts is the listener. */
static int listen_at(int family, void *address, socklen_t length) {
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd < 0) return ABSENT;
    return address && bind(fd, address, length) ? errno : OUTCOME(listen(fd, 1));
}
// None that the kernel gives to connections (ip_local_port_range(7) is from 32768): one in TIME-WAIT would keep it.
static int any_port(void) { return 12768 + getpid() % 20000; }
static int listen_four(void) { return listen_at(AF_INET, 0, 0); }
static int listen_six(void) { return listen_at(AF_INET6, 0, 0); }
#define LISTENS(name, family, type, make) static int name(void) { type at_all = make; return listen_at(family, &at_all, sizeof at_all); }
static struct sockaddr_in without_family(int number) {
    struct sockaddr_in to = inet(0, number);
    to.sin_family = AF_UNSPEC;
    return to;
}
static struct sockaddr_in6 six(int number) {
    return (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(number)};
}
LISTENS(bind_everywhere, AF_INET, struct sockaddr_in, inet(0, any_port()))
LISTENS(bind_unspec, AF_INET, struct sockaddr_in, without_family(any_port()))
LISTENS(bind_everywhere_six, AF_INET6, struct sockaddr_in6, six(any_port()))
LISTENS(bind_mapped, AF_INET6, struct sockaddr_in6, mapped(0, any_port()))
LISTENS(bind_no_port, AF_INET, struct sockaddr_in, inet(0, 0))
LISTENS(bind_no_port_unspec, AF_INET, struct sockaddr_in, without_family(0))
LISTENS(bind_no_port_six, AF_INET6, struct sockaddr_in6, six(0))
LISTENS(bind_no_port_mapped, AF_INET6, struct sockaddr_in6, mapped(0, 0))
static int bind_datagram(void) {
    struct sockaddr_in to = inet(0, any_port());
    return OUTCOME(bind(socket(AF_INET, SOCK_DGRAM, 0), (void *)&to, sizeof to));
}

const struct attack network[] = {
    {"connect-udp", connect_udp, PLAIN}, {"connect-tcp", connect_tcp, PLAIN},
    {"connect-udp-by-child", connect_udp_child, PLAIN}, {"connect-tcp-by-child", connect_tcp_child, PLAIN},
    {"connect-mapped-udp", mapped_udp, PLAIN}, {"connect-mapped-tcp", mapped_tcp, PLAIN},
    {"sendto-mapped-with-scope", mapped_scope, PLAIN}, {"sendto-inet-on-inet6", four_on_six, PLAIN},
    {"sendto", sendto_plain, PLAIN}, {"sendto-af-unspec", sendto_unspec, PLAIN}, {"sendto-long-address", sendto_long, PLAIN},
    {"sendto-msg-confirm", sendto_confirm, PLAIN}, {"sendto-wide-flags", sendto_wide_flags, PLAIN},
    {"sendmsg", sendmsg_plain, PLAIN}, {"sendmsg-over-connected", sendmsg_over_connected, PLAIN},
    {"sendmmsg-first", sendmmsg_first, PLAIN}, {"sendmmsg-last", sendmmsg_last, PLAIN},
    {"reconnect-udp-after-af-unspec", reconnect_udp, PLAIN}, {"reconnect-tcp-after-af-unspec", reconnect_tcp, PLAIN},
    {"fast-open-sendto", fast_open_sendto, PLAIN}, {"fast-open-sendmsg", fast_open_sendmsg, PLAIN},
    {"fast-open-sendmmsg", fast_open_sendmmsg, PLAIN}, {"fast-open-connect-option", fast_open_connect, PLAIN},
    {"fast-open-option", fast_open_listen, PLAIN},
    {"inherited-udp", inherited_udp, PLAIN}, {"inherited-tcp", inherited_tcp, PLAIN}, {"inherited-sendto", inherited_sendto, PLAIN},
    {"accepted-socket-reconnected", accepted, PLAIN}, {"passed-socket", passed, PLAIN}, {"duplicated-socket", duplicated, PLAIN},
    {"unshare-files", unshared_thread, PLAIN}, {"close-range-unshare", unshared_close_range, PLAIN},
    {"thread-with-own-descriptors", thread_with_own_table, PLAIN},
    {"packet-info", packet_info, PLAIN}, {"source-route-message", source_route_message, PLAIN},
    {"source-route-option", source_route_option, PLAIN}, {"routing-header-option", routing_header, PLAIN},
    {"zero-copy-of-the-guards-buffer", zero_copy, PLAIN},
    {"bind-everywhere", bind_everywhere, PLAIN}, {"bind-af-unspec", bind_unspec, PLAIN},
    {"bind-everywhere-inet6", bind_everywhere_six, PLAIN}, {"bind-mapped-everywhere", bind_mapped, PLAIN},
    {"bind-datagram-everywhere", bind_datagram, PLAIN}, {"listen-on-any-port", bind_no_port, PLAIN},
    {"listen-on-any-port-af-unspec", bind_no_port_unspec, PLAIN}, {"listen-on-any-port-inet6", bind_no_port_six, PLAIN},
    {"listen-on-any-port-mapped", bind_no_port_mapped, PLAIN},
    {"listen-without-bind", listen_four, PLAIN}, {"listen-without-bind-inet6", listen_six, PLAIN},
    {0},
};
