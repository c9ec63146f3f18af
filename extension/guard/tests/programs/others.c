/* What honest programs do to other threads and processes, and what they see of it: one line each. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t handled, from, code, value;
static void note(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    __atomic_fetch_add(&handled, 1, __ATOMIC_SEQ_CST);
    from = info->si_pid, code = info->si_code, value = info->si_value.sival_int;
}
static void handle(int signal) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(signal, &action, 0);
}
static void say(const char *what, long result) {
    int error = errno;
    printf("%s: %s\n", what, result < 0 ? strerror(error) : "done");
    fflush(stdout);
}
static void say_if(const char *what, int right) { printf("%s: %s\n", what, right ? "right" : "wrong"), fflush(stdout); }

static int ready[2];
static pid_t other; /* a thread's number */
static void *wait_for_ever(void *unused) {
    other = (pid_t)syscall(SYS_gettid);
    if (write(ready[1], "r", 1) != 1) return unused;
    for (;;) pause();
}
static pthread_t thread(void) {
    pthread_t made;
    char byte;
    if (pthread_create(&made, 0, wait_for_ever, 0) || read(ready[0], &byte, 1) != 1) _exit(3);
    return made;
}
static void ended(const char *what, pthread_t made) {
    void *result = 0;
    pthread_join(made, &result);
    say_if(what, result == PTHREAD_CANCELED);
}
/* A child that says when it has begun, and ends by the value that comes with SIGUSR2. */
static pid_t child(void) {
    pid_t made = fork();
    char byte;
    if (!made) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        handle(SIGUSR2);
        sigset_t none, wanted;
        sigemptyset(&none), sigemptyset(&wanted), sigaddset(&wanted, SIGUSR2);
        sigprocmask(SIG_BLOCK, &wanted, 0);
        if (write(ready[1], "r", 1) != 1) _exit(3);
        while (!handled) sigsuspend(&none);
        _exit(value);
    }
    if (read(ready[0], &byte, 1) != 1) _exit(3);
    return made;
}
static int status_of(pid_t made) {
    int status = -1;
    waitpid(made, &status, 0);
    return status;
}
static volatile int stop;
static void *storm(void *unused) {
    while (!stop) syscall(SYS_tgkill, getpid(), other, SIGURG), sched_yield();
    return unused;
}

/* With a word, all in a child: children are asked about more than the runtime. */
int main(int count, char **words) {
    if (count > 1 && !strcmp(words[1], "child")) {
        pid_t made = fork();
        if (made) return WEXITSTATUS(status_of(made));
    }
    if (pipe(ready)) return 3;
    handle(SIGURG), handle(SIGUSR1);

    pid_t made = child();
    say("kill a child", kill(made, SIGTERM));
    say_if("it ended by that", WTERMSIG(status_of(made)) == SIGTERM);
    say("kill it again", kill(made, SIGTERM));

    made = child();
    union sigval five = {.sival_int = 5};
    say("queue a value to a child", sigqueue(made, SIGUSR2, five));
    say_if("it has got that", WEXITSTATUS(status_of(made)) == 5);

    made = child();
    siginfo_t info = {.si_code = SI_USER};
    say("queue as if the kernel had sent it", syscall(SYS_rt_sigqueueinfo, made, SIGUSR2, &info));
    struct rlimit limit = {1 << 20, 1 << 21}, old = {0, 0}, now = {0, 0}, own;
    getrlimit(RLIMIT_FSIZE, &own);
    say("limit a child", prlimit(made, RLIMIT_FSIZE, &limit, &old));
    say_if("its limit was this one's", old.rlim_cur == own.rlim_cur && old.rlim_max == own.rlim_max);
    say_if("and is another now", !prlimit(made, RLIMIT_FSIZE, 0, &now) && now.rlim_cur == 1 << 20 && now.rlim_max == 1 << 21);
    limit.rlim_cur = 1 << 22;
    say("limit it to more than it may have", prlimit(made, RLIMIT_FSIZE, &limit, 0));
    say("limit it by memory that is not there", syscall(SYS_prlimit64, made, RLIMIT_FSIZE, 8, 0));
    say("nice a child", setpriority(PRIO_PROCESS, made, 7));
    errno = 0;
    say_if("it is nicer", getpriority(PRIO_PROCESS, made) == 7);
    struct sched_param none = {0};
    say("batch a child", sched_setscheduler(made, SCHED_BATCH, &none));
    say_if("it is one of a batch", sched_getscheduler(made) == SCHED_BATCH);
    struct { unsigned size, policy; unsigned long long flags; int nice; unsigned priority; unsigned long long times[3]; } attributes = {48, SCHED_BATCH, 0, 9, 0, {0}};
    say("attributes of a child", syscall(SYS_sched_setattr, made, &attributes, 0));
    say_if("it is nicer still", getpriority(PRIO_PROCESS, made) == 9);
    attributes.size = 12;
    say("attributes that are too few", syscall(SYS_sched_setattr, made, &attributes, 0));
    say_if("it is told how many", attributes.size >= 48);
    say("disk priority of a child", syscall(SYS_ioprio_set, 1, made, 2 << 13 | 6));
    say_if("it is lower", syscall(SYS_ioprio_get, 1, made) == (2 << 13 | 6));
    say("group of its own", setpgid(made, made));
    say("kill its group", killpg(made, SIGKILL));
    say_if("it ended by that too", WTERMSIG(status_of(made)) == SIGKILL);

    pthread_t waiting = thread();
    cpu_set_t all, one;
    sched_getaffinity(0, sizeof all, &all);
    int first = 0;
    while (!CPU_ISSET(first, &all)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    say("processor of a thread", pthread_setaffinity_np(waiting, sizeof one, &one) ? -1 : 0);
    cpu_set_t seen;
    CPU_ZERO(&seen);
    say_if("it has that one", !pthread_getaffinity_np(waiting, sizeof seen, &seen) && CPU_EQUAL(&seen, &one));
    say("nice a thread", setpriority(PRIO_PROCESS, other, 3));
    handled = 0;
    say("pthread_kill", pthread_kill(waiting, SIGUSR1) ? -1 : 0);
    while (!handled) usleep(100);
    say("tkill", syscall(SYS_tkill, other, SIGUSR1));
    while (handled < 2) usleep(100);
    say_if("it came from a thread", code == SI_TKILL);
    pthread_cancel(waiting), ended("cancelled", waiting);

    waiting = thread();
    pthread_t storming;
    pthread_create(&storming, 0, storm, 0);
    handled = 0;
    while (handled < 2000) usleep(100);
    stop = 1, pthread_join(storming, 0);
    say_if("it came from this process", from == getpid() && code == SI_TKILL);
    say("setuid with threads", setuid(getuid()));
    say("setgid with threads", setgid(getgid()));
    pthread_cancel(waiting), ended("cancelled after a storm", waiting);

    handled = 0;
    say("raise", raise(SIGUSR1));
    say_if("this thread has got it", handled == 1 && from == getpid());
    say("kill itself", kill(getpid(), SIGUSR1));
    while (handled < 2) usleep(100);
    say_if("from itself", from == getpid() && code == SI_USER);
    return 0;
}
