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

/* A path so long that the guard has no room for it, in a folder that is moved up afterwards. */
static int name_cut_short(void) {
    char folder[201], name[256], path[512];
    const char *own = getenv("RINGFENCE_DENIED");
    snprintf(path, sizeof path, "/tmp/ringfence-open-%s", strrchr(own, '-') + 1);
    if (mkdir(path, 0700) || chdir(path)) return errno;
    memset(folder, 'd', 200), folder[200] = 0;
    memset(name, 'n', 230), strcpy(name + 230, ".sealed");
    /* 20 folders of 201 bytes: the name ends beyond 4096. */
    for (int i = 0; i < 20; i++)
        if (mkdir(folder, 0700) || chdir(folder)) return errno;
    int last = open(".", O_PATH | O_DIRECTORY);
    if (mkdir("deepest", 0700) || chdir("deepest")) return errno;
    int outcome = OUTCOME(open(name, O_WRONLY | O_CREAT, 0600));
    if (outcome != WORKED) return outcome;
    int top = open(path, O_PATH | O_DIRECTORY);
    if (renameat(last, "deepest", top, "up") || chdir(path) || chdir("up")) return errno;
    return OUTCOME(access(name, F_OK));
}

/* The node of a socket is made with the rights that its maker lets it have, not with those that another one let a file. */
static int node_of_others_mask(void) {
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "/tmp/ringfence-open-%s", strrchr(getenv("RINGFENCE_DENIED"), '-') + 1);
    if (mkdir(path, 0700) || chdir(path)) return errno;
    pid_t child = fork();
    if (!child) { umask(0); _exit(mkdir("open", 0777) ? errno : 0); }
    waitpid(child, 0, 0);
    umask(077);
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "private"};
    if (bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at) || stat("private", &status)) return errno;
    return guarded == ((status.st_mode & 077) != 0) ? WORKED : EPERM;
}

const struct attack review2[] = {
    {"unspecified-where-bound-tcp", unspecified_tcp, PLAIN}, {"unspecified-where-bound-udp", unspecified_udp, PLAIN},
    {"unspecified-where-bound-sendto", unspecified_sendto, PLAIN},
    {"unspecified-where-bound-mapped", unspecified_mapped, PLAIN},
    {"name-cut-short", name_cut_short, PLAIN},
    {"node-of-others-mask", node_of_others_mask, PLAIN},
    {0},
};
