/* Attacks on the supervision itself, as raw system calls. Prints one "name: errno" line each (0: it worked). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void show(const char *name, long result) {
    printf("%s: %d\n", name, result < 0 ? errno : 0);
    fflush(stdout);
}

static long listener(unsigned flags) {
    struct sock_filter filter[] = {{0x06, 0, 0, 0x7fff0000}};
    struct sock_fprog program = {1, filter};
    return syscall(SYS_seccomp, 1, flags, &program);
}

static long reach(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(0x7f000002);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof to);
}

int main(int argc, char **argv) {
    int guard = getppid();
    setvbuf(stdout, 0, _IONBF, 0);
    if (argc > 1 && !strcmp(argv[1], "orphan")) {
        char byte;
        printf("ready\n");
        if (read(0, &byte, 1) != 1) return 1;
        show("listener", listener(8));
        show("connect", reach());
        show("exec", execl("/bin/true", "true", (char *)0));
        return 0;
    }
    show("listener", listener(8));
    show("listener+tsync", listener(8 | 1 | 16));
    show("filter", listener(0));
    show("prctl filter", prctl(PR_SET_SECCOMP, 2, 0, 0, 0));
    if (argc > 1 && !strcmp(argv[1], "control")) {
        show("connect", reach());
        return 0;
    }
    show("kill guard", kill(guard, SIGKILL));
    show("stop guard", syscall(SYS_tkill, guard, SIGSTOP));
    show("tgkill guard", syscall(SYS_tgkill, guard, guard, SIGKILL));
    show("kill group", kill(0, SIGKILL));
    show("kill all", kill(-1, SIGKILL));
    siginfo_t info = {.si_code = SI_QUEUE};
    show("queue guard", syscall(SYS_rt_sigqueueinfo, guard, SIGKILL, &info));
    unsigned long limit[2] = {0, 0};
    show("limit guard", syscall(SYS_prlimit64, guard, 0, limit, 0));
    show("nice guard", syscall(SYS_setpriority, 0, guard, 19));
    int pipes[2];
    show("own", pipe(pipes));
    show("setown", fcntl(pipes[0], F_SETOWN, guard));
    show("ptrace", syscall(SYS_ptrace, 16, guard, 0, 0));
    struct iovec piece = {&info, 1};
    show("readv", syscall(SYS_process_vm_readv, guard, &piece, 1, &piece, 1, 0));
    show("io_uring", syscall(SYS_io_uring_setup, 1, &info));
    show("unshare files", unshare(CLONE_FILES));
    show("unshare user", unshare(CLONE_NEWUSER));
    show("userfaultfd", syscall(SYS_userfaultfd, 1));
    show("mount", syscall(SYS_mount, 0, "/tmp", "tmpfs", 0, 0));
    show("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 0));
    show("vsock", socket(40, SOCK_STREAM, 0));
    show("mptcp", socket(AF_INET, SOCK_STREAM, 262));
    show("raw", socket(AF_INET, SOCK_RAW, 1));
    int tcp = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    show("fastopen", setsockopt(tcp, 6, 30, &one, sizeof one));
    show("source route", setsockopt(tcp, 0, 4, "\x83\x07\x04\x7f\0\0\2\0", 8));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(0x7f000002);
    show("fastopen sendto", sendto(tcp, "x", 1, 0x20000000, (struct sockaddr *)&to, sizeof to));
    to.sin_family = 0;
    show("send without family", sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0, (struct sockaddr *)&to, sizeof to));
    show("connect", reach());
    int memory = memfd_create("x", 0);
    show("exec memfd", syscall(SYS_execveat, memory, "", (char *[]){"x", 0}, (char *[]){0}, 0x1000));
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", guard);
    show("memory of guard", open(path, O_RDWR));
    return 0;
}
