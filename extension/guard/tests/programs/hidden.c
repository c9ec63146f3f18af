/* A program that may be run but not read is swapped in at exec: nobody can look at what runs it. It is made here, a copy
   of this one with mode 0111. Prints "alive killed": how many lived for two seconds, and how many were killed before. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIFE_SECONDS = 2, LIVED = 42 };
static volatile char path[64];
static char allowed[64] = "/bin/true", hidden[64], stack[65536];
static volatile int stop;

static void *flip(void *unused) {
    for (unsigned i = 0; !stop; i++) {
        memcpy((char *)path, i & 1 ? hidden : allowed, sizeof path);
        for (volatile int pause = 0; pause < 300; pause++) {}
        if (i % 64 == 0) sched_yield();
    }
    return unused;
}

static int become(void *unused) {
    (void)unused;
    char *arguments[] = {"hidden", "live", 0};
    syscall(SYS_execve, path, arguments, (char *[]){0});
    _exit(1);
}

static int copied(void) {
    struct stat status;
    int from = open("/proc/self/exe", O_RDONLY), to = open(hidden, O_CREAT | O_WRONLY | O_EXCL, 0700);
    int whole = to >= 0 && !fstat(from, &status) && sendfile(to, from, 0, status.st_size) == status.st_size;
    close(from), close(to);
    return whole && !chmod(hidden, 0111);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "live")) return sleep(LIFE_SECONDS), LIVED;
    snprintf(hidden, sizeof hidden, "/var/tmp/ringfence-hidden-%d", getpid());
    if (!copied()) return perror(hidden), 3;
    memcpy((char *)path, allowed, sizeof path);
    pthread_t thread;
    pthread_create(&thread, 0, flip, 0);
    int alive = 0, killed = 0, status;
    for (time_t until = time(0) + 60; alive + killed < 2 && time(0) < until;) {
        pid_t child = clone(become, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
        if (child <= 0 || waitpid(child, &status, 0) != child) continue;
        alive += WIFEXITED(status) && WEXITSTATUS(status) == LIVED;
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    stop = 1;
    pthread_join(thread, 0);
    unlink(hidden);
    printf("%d %d\n", alive, killed);
    return 0;
}
