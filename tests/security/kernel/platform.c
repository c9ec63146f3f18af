/* Stands in for the platform: platform open|nested UID guard|bare COMMAND…
   Drops to UID, lays the folder RINGFENCE_DENIED, sets no_new_privs, leaves two sockets open (100 UDP, 101 TCP) and one that stands in for the agent's (103); with "nested" prctl and ptrace are refused and
   numbers from 425 on do not exist; with RINGFENCE_KILLER the guard can be killed through 102. "guard" becomes the command; "bare" runs it as a child of an ordinary parent, so
   that an attack on the parent has somebody to hit. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define REFUSE(nr, error) {0x15, 0, 1, nr}, {0x06, 0, 0, 0x50000 | error}

/* A folder that the policy lets nobody write, with something in it to change. */
static int lay(const char *folder) {
    char path[256];
    if (!folder) return 0;
    if (mkdir(folder, 0700)) return -1;
    snprintf(path, sizeof path, "%s/sub", folder);
    if (mkdir(path, 0700)) return -1;
    snprintf(path, sizeof path, "%s/kept", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    return fd < 0 || write(fd, "kept", 4) != 4 || close(fd);
}

/* Somebody outside who kills this process, the guard by then, as soon as a byte is written to 102. */
static int raise_killer(void) {
    int ends[2];
    pid_t guard = getpid();
    if (pipe(ends)) return -1;
    pid_t child = fork();
    if (!child) {
        char byte;
        if (fork()) _exit(0);
        close(0), close(1), close(2), close(100), close(101), close(ends[1]);
        if (read(ends[0], &byte, 1) == 1) kill(guard, SIGKILL);
        _exit(0);
    }
    close(ends[0]);
    return child < 0 || waitpid(child, 0, 0) != child || dup2(ends[1], 102) != 102 || close(ends[1]);
}

/* A socket under a name of the agent's, which RINGFENCE_CONTROL tells. */
static int stand_in(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char *name = at.sun_path + 1;
    int length = snprintf(name, sizeof at.sun_path - 1, "ringfence-control-platform-%d", getpid());
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (bind(fd, (void *)&at, (socklen_t)(3 + length)) || listen(fd, 8)) return -1;
    return dup2(fd, 103) != 103 || close(fd) || setenv("RINGFENCE_CONTROL", name, 1);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int nested = !strcmp(argv[1], "nested"), user = atoi(argv[2]), bare = !strcmp(argv[3], "bare");
    dup2(socket(AF_INET, SOCK_DGRAM, 0), 100);
    dup2(socket(AF_INET, SOCK_STREAM, 0), 101);
    close(3), close(4);
    if (geteuid() == 0 && (setgroups(0, 0) || setgid(user) || setuid(user))) return perror("setuid"), 3;
    /* As many processes and threads as the function may have with all that is there for it. */
    const char *processes = getenv("ATTACK_PROCESSES");
    struct rlimit room = {processes ? (rlim_t)atoi(processes) : 0, processes ? (rlim_t)atoi(processes) : 0};
    if (processes && setrlimit(RLIMIT_NPROC, &room)) return perror("limit of processes"), 3;
    if (stand_in()) return perror("control socket"), 3;
    if (lay(getenv("RINGFENCE_DENIED"))) return perror("denied folder"), 3;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return perror("no_new_privs"), 3;
    if (prctl(PR_SET_DUMPABLE, 1)) return perror("dumpable"), 3;
    struct sock_filter filter[] = {
        {0x20, 0, 0, 0},
        {0x35, 0, 1, 425}, {0x06, 0, 0, 0x50000 | ENOSYS},
        REFUSE(SYS_prctl, EPERM), REFUSE(SYS_ptrace, EPERM),
        {0x06, 0, 0, 0x7fff0000},
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (nested && syscall(SYS_seccomp, 1, 4, &program)) return perror("seccomp"), 3;
    if (getenv("RINGFENCE_KILLER") && raise_killer()) return perror("killer"), 3;
    pid_t child = bare ? fork() : 0;
    int status = 0;
    if (!child) return execv(argv[4], argv + 4), perror(argv[4]), 3;
    while (waitpid(child, &status, 0) != child) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
