// Starts a shell, or opens a file, as musl's posix_spawn(3) does, whatever the libc: in a child of clone(2) that shares memory and has
// 5 KiB of stack, of which musl's own frames take up to 1 KiB. Prints how much of what lies below was written to, and
// how the shell ended or the open failed. Arguments: a shell and how many variables it gets besides those that rules
// speak of, or O_ flags and a file.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BELOW = 32768, STACK = 5120 - 1024, MOST = 2000 };
static char area[BELOW + STACK] __attribute__((aligned(16)));
static char *environment[MOST + 4];

static int child(void *path) {
    char *arguments[] = {"sh", "-c", "exit 0", NULL};
    execve(path, arguments, environment);
    return 77;
}

static int opens(void *arguments) {
    char **argv = arguments;
    return open(argv[2], argv[1][0] == 'w' ? O_WRONLY | O_CREAT : O_RDONLY, 0600) < 0 ? errno : 0;
}

int main(int argc, char **argv) {
    int is_open = argv[1][0] != '/', used = 0;
    environment[used++] = "LD_PRELOAD=/nowhere/a.so:/nowhere/b.so";
    environment[used++] = "LD_LIBRARY_PATH=/usr/lib:/tmp/lib";
    environment[used++] = "AWS_SECRET_ACCESS_KEY=x";
    for (int count = is_open ? 0 : atoi(argv[2]); count > 0 && used < MOST; count--) environment[used++] = "V=x";
    memset(area, 0x5a, BELOW);
    int flags = CLONE_VM | CLONE_VFORK | SIGCHLD, status, pid;
    pid = is_open ? clone(opens, area + sizeof area, flags, argv) : clone(child, area + sizeof area, flags, argv[1]);
    waitpid(pid, &status, 0);
    int intact = 0;
    while (intact < BELOW && area[intact] == 0x5a) intact++;
    printf("%d %d\n", BELOW - intact, WEXITSTATUS(status));
}
