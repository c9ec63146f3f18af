/* What programs do all day: threads, signals, vfork, popen, restarted calls, cancellation, longjmp out of a call. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static volatile sig_atomic_t opened, ticks;
static sigjmp_buf back;

static void on_alarm(int s) { (void)s; int f = open("/etc/passwd", O_RDONLY); if (f >= 0) { opened++; close(f); } ticks++; }
static void jump(int s) { (void)s; siglongjmp(back, 1); }
static void *opens(void *x) { for (int i = 0; i < 2000; i++) { int f = open("/etc/passwd", O_RDONLY); if (f < 0) return (void *)1; close(f); } return x; }
static void *blocks(void *x) { int *p = x; char c; if (read(p[0], &c, 1) < 0) return (void *)1; return 0; }
static void *connects(void *x) { struct sockaddr a = {0}; (void)x; for (;;) { int s = socket(AF_UNIX, SOCK_STREAM, 0); connect(s, &a, sizeof a); close(s); pthread_testcancel(); } }

int main(void) {
    pthread_t t[16]; void *r; int bad = 0, p[2];
    for (int i = 0; i < 16; i++) pthread_create(&t[i], 0, opens, 0);
    for (int i = 0; i < 16; i++) { pthread_join(t[i], &r); bad += r != 0; }
    printf("threads %d\n", bad);
    struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}; sigaction(SIGALRM, &a, 0);
    struct itimerval v = {{0, 300}, {0, 300}}; setitimer(ITIMER_REAL, &v, 0);
    bad = 0;
    while (ticks < 200) { int f = open("/etc/hostname", O_RDONLY); if (f < 0) bad++; else close(f); }
    memset(&v, 0, sizeof v); setitimer(ITIMER_REAL, &v, 0);
    printf("signals %d %d\n", bad, opened > 100);
    pid_t c = vfork(); if (c == 0) { execl("/usr/bin/true", "true", (char *)0); _exit(9); }
    int status; waitpid(c, &status, 0); printf("vfork %d\n", WEXITSTATUS(status));
    char *argv[] = {"true", 0}; posix_spawn(&c, "/usr/bin/true", 0, 0, argv, environ); waitpid(c, &status, 0); printf("spawn %d\n", WEXITSTATUS(status));
    c = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); if (c == 0) _exit(4); waitpid(c, &status, 0); printf("syscall clone %d\n", WEXITSTATUS(status));
    FILE *o = popen("echo popen", "r"); char line[32] = ""; if (fgets(line, sizeof line, o)) fputs(line, stdout); pclose(o);
    FILE *f = fopen("/etc/passwd", "r"); printf("fopen %d\n", f && fgetc(f) != EOF); fclose(f);
    if (pipe(p)) return 1;
    pthread_create(&t[0], 0, blocks, p); usleep(20000); pthread_cancel(t[0]); pthread_join(t[0], &r); printf("cancelled %d\n", r == PTHREAD_CANCELED);
    pthread_create(&t[0], 0, connects, 0); usleep(20000); pthread_cancel(t[0]); pthread_join(t[0], &r); printf("cancelled %d\n", r == PTHREAD_CANCELED);
    signal(SIGUSR1, jump);
    if (!sigsetjmp(back, 1)) { char fifo[] = "/tmp/ringfence-fifo-XXXXXX"; mkdtemp(fifo); char path[64]; snprintf(path, sizeof path, "%s/f", fifo); mknod(path, S_IFIFO | 0600, 0);
        if (fork() == 0) { usleep(30000); kill(getppid(), SIGUSR1); _exit(0); }
        open(path, O_RDONLY); puts("not reached"); } else puts("jumped");
    wait(0);
    errno = 0; long w = syscall(SYS_openat, -100, 8, 0); printf("wild %ld %d\n", w, errno == EFAULT);
    errno = 0; w = connect(1, 0, 16); printf("null %ld %d\n", w, errno != 0);
    return 0;
}
