/* Sockets that egress rules would not see, and messages to the agent in another's name. */
#include "attack.h"

/* That the kernel does not have it is known from the control run's errno. */
static int make(long domain, long type, long protocol) {
    long fd = syscall(SYS_socket, domain, type, protocol);
    if (fd >= 0) return close((int)fd), WORKED;
    int error = errno;
    if (!guarded && (error == EAFNOSUPPORT || error == EPROTONOSUPPORT || error == ESOCKTNOSUPPORT || error == EPERM || error == EACCES || error == ENODEV)) return ABSENT;
    return error;
}
#define SOCKET(name, domain, type, protocol) static int name(void) { return make(domain, type, protocol); }
SOCKET(vsock, 40, 1, 0)
SOCKET(vsock_datagram, 40, 2, 0)
SOCKET(vsock_wide, 0x100000028, 1, 0)
SOCKET(mptcp, 2, 1, 262)
SOCKET(mptcp_six, 10, 1, 262)
SOCKET(mptcp_wide, 2, 1, 0x100000106)
SOCKET(raw, 2, 3, 1)
SOCKET(raw_six, 10, 3, 58)
SOCKET(packet, 17, 3, 0x300)
SOCKET(packet_old, 2, 10, 0x300)
SOCKET(sctp, 2, 1, 132)
SOCKET(sctp_sequence, 2, 5, 132)
SOCKET(sctp_unnamed, 2, 5, 0)
SOCKET(sctp_unnamed_six, 10, 5, 0)
SOCKET(udp_lite, 2, 2, 136)
SOCKET(ping, 2, 2, 1)
SOCKET(dccp, 2, 6, 33)
SOCKET(algorithm, 38, 5, 0)
SOCKET(key, 15, 3, 2)
SOCKET(tipc, 30, 2, 0)
SOCKET(express, 44, 3, 0)
SOCKET(bluetooth, 31, 3, 0)
SOCKET(can, 29, 3, 1)
SOCKET(kcm, 41, 2, 0)
SOCKET(smc, 43, 1, 0)
SOCKET(qrtr, 42, 2, 0)
SOCKET(rds, 21, 5, 0)
SOCKET(netlink_diagnosis, 16, 3, 4)
SOCKET(netlink_netfilter, 16, 3, 12)
SOCKET(netlink_events, 16, 2, 15)
SOCKET(netlink_generic, 16, 3, 16)
SOCKET(netlink_crypto, 16, 3, 21)
SOCKET(netlink_wide, 0x100000010, 3, 0x100000010)

static int pair_inet(void) {
    int pair[2];
    long done = syscall(SYS_socketpair, 30, 1, 0, pair);
    return done < 0 && !guarded ? ABSENT : OUTCOME(done);
}

static struct sockaddr_un hidden(const char *name, socklen_t *length) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *length = (socklen_t)(3 + snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "%s-%d", name, getpid()));
    return at;
}

/* The platform stands in for the agent. */
static int control_socket(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int length = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "%s", getenv("RINGFENCE_CONTROL"));
    return OUTCOME(connect(socket(AF_UNIX, SOCK_SEQPACKET, 0), (void *)&at, (socklen_t)(3 + length)));
}
static int take_name(const char *name, int kind) {
    socklen_t length;
    struct sockaddr_un at = hidden(name, &length);
    return OUTCOME(bind(socket(AF_UNIX, kind, 0), (void *)&at, length));
}
static int control_name(void) { return take_name("ringfence-control-", SOCK_SEQPACKET); }
static int report_name(void) { return take_name("ringfence-report-", SOCK_DGRAM); }

/* A message as the agent reads them: "RF", version, kind, then the field 1 (process id) of four bytes. */
static char claim[8192];
static size_t write_claim(int kind, uint32_t process) {
    memcpy(claim, (char[]){'R', 'F', 1, (char)kind, 1, 4, 0}, 7);
    memcpy(claim + 7, &process, 4);
    return 11;
}

static int reports, report_fd;
static struct sockaddr_un report_at;
static socklen_t report_length;
static void agent(void) {
    report_at = hidden("claims", &report_length);
    reports = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (bind(reports, (void *)&report_at, report_length)) exit(3);
    report_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
}
static int heard(long done) {
    int error = errno;
    return recv(reports, claim, sizeof claim, 0) > 0 ? WORKED : done < 0 ? error : NOT_SEEN;
}
enum way { SENDTO, SENDMSG, SENDMMSG, CONNECTED };
static int send_claim(enum way way, size_t length) {
    struct iovec pieces[2] = {{claim, 5}, {claim + 5, length - 5}};
    struct mmsghdr one = {.msg_hdr = {.msg_name = &report_at, .msg_namelen = report_length, .msg_iov = pieces, .msg_iovlen = 2}};
    if (way == SENDTO) return heard(syscall(SYS_sendto, report_fd, claim, length, 0, &report_at, report_length));
    if (way == SENDMMSG) return heard(syscall(SYS_sendmmsg, report_fd, &one, 1, 0));
    if (way == CONNECTED) {
        if (connect(report_fd, (void *)&report_at, report_length)) return errno;
        one.msg_hdr.msg_name = 0, one.msg_hdr.msg_namelen = 0;
    }
    return heard(syscall(SYS_sendmsg, report_fd, &one.msg_hdr, 0));
}
// In the name of the runtime. In its own a child may say so, and the agent asks the policy whether it may.
static int over_by(enum way way) { return agent(), send_claim(way, write_claim(4, getppid())); }
static int over_sendto(void) { return over_by(SENDTO); }
static int over_sendmsg(void) { return over_by(SENDMSG); }
static int over_sendmmsg(void) { return over_by(SENDMMSG); }
static int over_connected(void) { return over_by(CONNECTED); }
static int claims_over_sendto(void) { return in_child(over_sendto); }
static int claims_over_sendmsg(void) { return in_child(over_sendmsg); }
static int claims_over_sendmmsg(void) { return in_child(over_sendmmsg); }
static int claims_over_connected(void) { return in_child(over_connected); }
static int up(void) { return agent(), send_claim(SENDTO, write_claim(3, getpid())); }
static int claims_up(void) { return in_child(up); }
static int up_long(void) { return agent(), write_claim(3, getpid()), send_claim(SENDTO, 5000); }
static int claims_up_long(void) { return in_child(up_long); }
static int violation(void) { return agent(), send_claim(SENDTO, write_claim(1, getppid())); }
static int twice(void) {
    agent();
    size_t length = write_claim(2, getpid());
    memcpy(claim + length, (char[]){1, 4, 0, 1, 0, 0, 0}, 7);
    return send_claim(SENDMSG, length + 7);
}

const struct attack sockets[] = {
    {"vsock", vsock, PLAIN}, {"vsock-datagram", vsock_datagram, PLAIN}, {"vsock-wide-word", vsock_wide, PLAIN},
    {"mptcp", mptcp, PLAIN}, {"mptcp-inet6", mptcp_six, PLAIN}, {"mptcp-wide-word", mptcp_wide, PLAIN},
    {"raw", raw, PLAIN}, {"raw-inet6", raw_six, PLAIN}, {"packet", packet, PLAIN}, {"packet-by-inet", packet_old, PLAIN},
    {"sctp", sctp, PLAIN}, {"sctp-seqpacket", sctp_sequence, PLAIN}, {"sctp-by-default-protocol", sctp_unnamed, PLAIN},
    {"sctp-by-default-protocol-inet6", sctp_unnamed_six, PLAIN}, {"udp-lite", udp_lite, PLAIN}, {"ping", ping, PLAIN},
    {"dccp", dccp, PLAIN}, {"alg", algorithm, PLAIN}, {"key", key, PLAIN}, {"tipc", tipc, PLAIN}, {"xdp", express, PLAIN},
    {"bluetooth", bluetooth, PLAIN}, {"can", can, PLAIN}, {"kcm", kcm, PLAIN}, {"smc", smc, PLAIN}, {"qrtr", qrtr, PLAIN},
    {"rds", rds, PLAIN}, {"netlink-diagnosis", netlink_diagnosis, PLAIN}, {"netlink-netfilter", netlink_netfilter, PLAIN},
    {"netlink-events", netlink_events, PLAIN}, {"netlink-generic", netlink_generic, PLAIN},
    {"netlink-crypto", netlink_crypto, PLAIN}, {"netlink-wide-word", netlink_wide, PLAIN}, {"pair-of-tipc", pair_inet, PLAIN},
    {"agents-control-socket", control_socket, PLAIN}, {"agents-control-name", control_name, PLAIN},
    {"agents-report-name", report_name, PLAIN},
    {"claim-invocation-over-sendto", claims_over_sendto, PLAIN}, {"claim-invocation-over-sendmsg", claims_over_sendmsg, PLAIN},
    {"claim-invocation-over-sendmmsg", claims_over_sendmmsg, PLAIN},
    {"claim-invocation-over-connected", claims_over_connected, PLAIN}, {"claim-runtime-up", claims_up, PLAIN},
    {"claim-runtime-up-cut-short", claims_up_long, PLAIN}, {"claim-of-another-process", violation, PLAIN},
    {"claim-of-two-processes", twice, PLAIN},
    {0},
};
