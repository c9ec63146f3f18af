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

const struct attack review2[] = {
    {"unspecified-where-bound-tcp", unspecified_tcp, PLAIN}, {"unspecified-where-bound-udp", unspecified_udp, PLAIN},
    {"unspecified-where-bound-sendto", unspecified_sendto, PLAIN},
    {"unspecified-where-bound-mapped", unspecified_mapped, PLAIN},
    {0},
};
