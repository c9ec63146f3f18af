/* The floor of user notification: a supervisor that lets everything go ahead and looks at nothing.
     floor COMMAND…   asks about the calls that the guard asks about most, and answers each with "continue". */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <poll.h>
#include <unistd.h>

#define ASK(nr) {0x15, 0, 1, nr}, {0x06, 0, 0, 0x7fc00000}
/* openat, where its flags say that it may write. */
#define ASK_WRITING {0x15, 0, 3, SYS_openat}, {0x20, 0, 0, 32}, {0x45, 0, 1, 3}, {0x06, 0, 0, 0x7fc00000}

static int listener(void) {
    struct sock_filter filter[] = {
        {0x20, 0, 0, 0}, ASK(SYS_connect), ASK(SYS_execve), ASK(SYS_sendmsg), ASK(SYS_sendmmsg), ASK_WRITING, {0x06, 0, 0, 0x7fff0000},
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    /* NEW_LISTENER, SPEC_ALLOW, WAIT_KILLABLE_RECV: as the guard asks for. */
    long fd = syscall(SYS_seccomp, 1, 8 | 4 | 32, &program);
    return (int)(fd < 0 ? syscall(SYS_seccomp, 1, 8 | 4, &program) : fd);
}

int main(int argc, char **argv) {
    int pipes[2];
    if (argc < 2 || pipe(pipes)) return 2;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    /* Shares the table of descriptors, so that the number of the listener is good here too. */
    long child = syscall(SYS_clone, 0x400 | 17, 0, 0, 0, 0);
    if (!child) {
        int fd = listener();
        if (write(pipes[1], &fd, sizeof fd) != sizeof fd) _exit(1);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    int fd, status;
    if (read(pipes[0], &fd, sizeof fd) != sizeof fd || fd < 0) return 3;
    ioctl(fd, _IOW('!', 4, unsigned long), 1ul); /* SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, by value */
    for (;;) {
        struct pollfd wait = {fd, POLLIN, 0};
        poll(&wait, 1, 100);
        if (wait.revents & POLLIN) {
            struct seccomp_notif call;
            memset(&call, 0, sizeof call);
            if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call)) continue;
            struct seccomp_notif_resp answer = {.id = call.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
            ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
        } else if (waitpid((pid_t)child, &status, WNOHANG) == child) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        }
    }
}
