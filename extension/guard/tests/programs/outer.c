/* Stands in for the platform: lays the folder "policies" beside this program over /mnt in a mount name space of its own
   (the guard takes no policy from /tmp, where the tests work), drops to an unprivileged uid, sets no_new_privs and, with "nested", refuses prctl and ptrace with
   EPERM and answers ENOSYS from number 425 on; with "strict", seccomp(2) is refused too. Then runs the command.
   After "open", names of kernel features that are to be missing may follow, each after a comma. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REFUSE(nr, error) {0x15, 0, 1, nr}, {0x06, 0, 0, 0x50000 | error}

static void map(const char *file, unsigned id) {
    char line[32];
    int descriptor = open(file, O_WRONLY);
    int length = snprintf(line, sizeof line, "%u %u 1", id, id);
    if (descriptor < 0 || write(descriptor, line, length) != length) perror(file);
    close(descriptor);
}

static int lay_policies(char *self) {
    char folder[512];
    unsigned uid = getuid(), gid = getgid();
    if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER)) return -1;
    if (uid != 0) {
        int descriptor = open("/proc/self/setgroups", O_WRONLY);
        if (descriptor < 0 || write(descriptor, "deny", 4) != 4) return -1;
        close(descriptor);
        map("/proc/self/uid_map", uid);
        map("/proc/self/gid_map", gid);
    }
    snprintf(folder, sizeof folder, "%.*s/policies", (int)(strrchr(self, '/') - self), self);
    if (mount("none", "/", 0, MS_REC | MS_PRIVATE, 0)) return -1;
    return mount(folder, "/mnt", 0, MS_BIND, 0);
}

/* A filter that takes the named features away, each as a kernel without it answers. */
static int take_away(const char *names) {
    struct sock_filter filter[64] = {{0x20, 0, 0, 0}};
    int length = 1;
#define REFUSE_NAMED(name, nr, error) \
    if (strstr(names, name)) memcpy(filter + length, (struct sock_filter[]){REFUSE(nr, error)}, 16), length += 2;
    /* The call with these bits, or with this value, in its second argument. */
#define REFUSE_SECOND(name, nr, test, value, error) \
    if (strstr(names, name)) memcpy(filter + length, (struct sock_filter[]){{0x15, 0, 4, nr}, {0x20, 0, 0, 24}, \
        {test, 0, 1, value}, {0x06, 0, 0, 0x50000 | error}, {0x20, 0, 0, 0}}, 40), length += 5;
    REFUSE_NAMED("pidfd_getfd", 438, ENOSYS)
    REFUSE_NAMED("openat2", 437, ENOSYS)
    REFUSE_NAMED("Landlock", 444, ENOSYS)
    REFUSE_SECOND("PIDFD_THREAD", 434, 0x45, O_EXCL, EINVAL)
    REFUSE_SECOND("WAIT_KILLABLE_RECV", SYS_seccomp, 0x45, 1 << 5, EINVAL)
    REFUSE_SECOND("SYNC_WAKE_UP", SYS_ioctl, 0x15, 0x40082104, EINVAL)
    filter[length++] = (struct sock_filter){0x06, 0, 0, 0x7fff0000};
    struct sock_fprog program = {length, filter};
    /* A flag in memory is beyond filters: the guard of the tests looks for the name. */
    setenv("RINGFENCE_TEST_WITHOUT", names, 1);
    return syscall(SYS_seccomp, 1, 4, &program);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *missing = strchr(argv[1], ',');
    int strict = !strcmp(argv[1], "strict"), open_profile = !strncmp(argv[1], "open", 4);
    if (lay_policies(argv[0])) return perror("policies"), 3;
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
    if (missing && take_away(missing)) return perror("seccomp"), 3;
    execv(argv[2], argv + 2);
    return perror(argv[2]), 3;
}
