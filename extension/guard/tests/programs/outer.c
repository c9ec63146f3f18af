/* Stands in for the platform: drops to an unprivileged uid, sets no_new_privs and, with "nested", refuses prctl and ptrace with
   EPERM and answers ENOSYS from number 425 on; with "strict", seccomp(2) is refused too. Then runs the command. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REFUSE(nr, error) {0x15, 0, 1, nr}, {0x06, 0, 0, 0x50000 | error}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int strict = !strcmp(argv[1], "strict"), open_profile = !strcmp(argv[1], "open");
    if (geteuid() == 0 && (setgroups(0, 0) || setgid(64990) || setuid(64993))) return perror("setuid"), 3;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return perror("prctl"), 3;
    struct sock_filter filter[] = {
        {0x20, 0, 0, 0},
        {0x35, 0, 1, 425}, {0x06, 0, 0, 0x50000 | ENOSYS},
        REFUSE(SYS_prctl, EPERM), REFUSE(SYS_ptrace, EPERM), REFUSE(strict ? SYS_seccomp : 9999, EPERM),
        {0x06, 0, 0, 0x7fff0000},
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (!open_profile && syscall(SYS_seccomp, 1, 4, &program)) return perror("seccomp"), 3;
    execv(argv[2], argv + 2);
    return perror(argv[2]), 3;
}
