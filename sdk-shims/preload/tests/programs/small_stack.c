// Starts a shell as musl's posix_spawn(3) does, whatever the libc: in a child of clone(2) that shares memory and has
// 5 KiB of stack. Prints how much of what lies below was written to, and whether the shell ran.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BELOW = 32768, STACK = 5120 };
static char area[BELOW + STACK] __attribute__((aligned(16)));

static int child(void *path) {
    char *arguments[] = {"sh", "-c", "exit 0", NULL}, *environment[] = {NULL};
    execve(path, arguments, environment);
    return 77;
}

int main(int argc, char **argv) {
    memset(area, 0x5a, BELOW);
    int status, pid = clone(child, area + sizeof area, CLONE_VM | CLONE_VFORK | SIGCHLD, argv[1]);
    waitpid(pid, &status, 0);
    int intact = 0;
    while (intact < BELOW && area[intact] == 0x5a) intact++;
    printf("%d %d\n", BELOW - intact, WEXITSTATUS(status));
}
