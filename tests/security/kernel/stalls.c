/* Attacks on the guard's time by what the kernel keeps locked: a hostile process brings it about that the kernel takes
   long over something that the guard does for one of its calls, and an honest process measures how long its own calls
   wait meanwhile. Without the guard they do not wait at all.

   What is held is held by a thread at idle priority on a processor that others have for themselves: it has next to no
   time, and lets go only when it is done. The honest process is on the other processor. */
#include "attack.h"

static const double WHILE = 2, AT_MOST = 4, TOO_LONG = 1; /* seconds */
static const size_t SLICE = 2 << 20;  /* of the one file that is mapped again and again: pages cost nothing then */
static const size_t FRESH = 64 << 20; /* of pages that nobody has touched */

/* What the processes tell each other. */
static struct board {
    volatile int ready, go, held; /* how many processes are there, whether they may begin, how many hold something */
    volatile double until;        /* when the attack ends */
    volatile double worst;        /* of the honest calls, in seconds */
    volatile int failed;          /* the error of one that failed */
    const char *volatile slowest; /* the name of either */
    volatile double since[64];    /* when each hostile process took what it holds */
    volatile double held_up_to;   /* the longest that one held it */
} *board;
static pid_t hostile[64];
static int hostiles, holders;
static int port;
static char folder[128], honest_file[160], held_folder[160], held_file[192];

static void prepare(void) {
    board = mmap(0, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    receiver(SOCK_DGRAM, ALLOWED, &port);
    snprintf(folder, sizeof folder, "/tmp/ringfence-open-%s", strrchr(getenv("RINGFENCE_DENIED"), '-') + 1);
    snprintf(honest_file, sizeof honest_file, "%s/honest", folder);
    snprintf(held_folder, sizeof held_folder, "%s/held", folder);
    snprintf(held_file, sizeof held_file, "%s/file", held_folder);
    if (mkdir(folder, 0700) || mkdir(held_folder, 0700)) exit(3);
    close(open(held_file, O_WRONLY | O_CREAT, 0600));
}

/* The honest calls: 0, or the error, since one that fails is no better than one that waits. */
static int connect_once(void) {
    struct sockaddr_in to = inet(ALLOWED, port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0) return errno;
    int error = OUTCOME(connect(fd, (void *)&to, sizeof to));
    return close(fd) ? errno : error;
}
static int open_once(void) {
    int fd = open(honest_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    return fd < 0 || close(fd) ? errno : 0;
}
static int exec_once(void) {
    int status = 0;
    pid_t child = fork();
    if (!child) execl("/usr/bin/true", "true", (char *)0), _exit(errno);
    return waitpid(child, &status, 0) == child ? (WIFEXITED(status) ? WEXITSTATUS(status) : EINTR) : errno;
}
/* By a name that is looked up from the caller's own folder. */
static int bind_once(void) {
    static const struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return errno;
    int error = OUTCOME(bind(fd, (void *)&at, sizeof at));
    return close(fd) || unlink(at.sun_path) ? errno : error;
}
enum { KINDS = 4 };
static const struct { const char *name; int (*make)(void); } honest[KINDS] = {
    {"connect", connect_once}, {"open", open_once}, {"exec", exec_once}, {"bind", bind_once},
};
/* How long something was held at most, or is held yet. */
static double held_for(void) {
    double longest = board->held_up_to, at = now();
    for (int i = 0; i < hostiles; i++)
        if (board->since[i] && at - board->since[i] > longest) longest = at - board->since[i];
    return longest;
}
static void be_honest(void) {
    pin(0);
    if (chdir(folder)) exit(3);
    /* Where others take the processors, the hostile ones too need more time. */
    for (double begun = now(), one = begun; board->worst <= TOO_LONG; usleep(1000)) {
        if (one - begun > 10 * WHILE || (one - begun > WHILE && held_for() > TOO_LONG)) return;
        for (int i = 0; i < KINDS; i++) {
            board->until = (one = now()) + AT_MOST;
            int error = honest[i].make();
            if (error) {
                board->failed = error, board->slowest = honest[i].name;
                return;
            }
            if (now() - one > board->worst) board->worst = now() - one, board->slowest = honest[i].name;
        }
    }
}

/* Hostile processes: they begin when all are there, and none outlives the attack. */
static int is_over(void) { return now() > board->until && board->until; }
static void start(void (*run)(void)) {
    pid_t child = fork();
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* The first look at the clock fetches its page, for which later somebody may have to wait. */
        alarm(60), is_over(), run();
        /* Asking for its end would be a call that waits. */
        while (!is_over()) usleep(10000);
        _exit(0);
    }
    hostile[hostiles++] = child;
}
static void wait_for_all(void) {
    __atomic_add_fetch(&board->ready, 1, __ATOMIC_SEQ_CST);
    while (!board->go) usleep(1000);
}
/* Sleeps until all that is to be held is held: then nobody else on this processor gets on. */
static void take_all_time(void) {
    pin(1), wait_for_all();
    while (board->held < holders) usleep(100);
    while (!is_over()) {}
}
static void start_takers(int for_holders, int takers) {
    holders = for_holders;
    for (int i = 0; i < takers; i++) start(take_all_time);
}
/* The holder says that it takes what is held; what it took before it has let go by then. */
static void take(void) {
    double at = now(), since = board->since[hostiles];
    if (!since) __atomic_add_fetch(&board->held, 1, __ATOMIC_SEQ_CST);
    else if (at - since > board->held_up_to) board->held_up_to = at - since;
    board->since[hostiles] = at;
}
/* Those that take the time are the first to go, so that the others have some to end in. */
static void end_all(void) {
    for (int i = 0; i < hostiles; i++) kill(hostile[i], SIGKILL);
    for (int i = 0; i < hostiles; i++) waitpid(hostile[i], 0, 0);
    hostiles = 0;
}
static void let_go(void) {
    double begun = now();
    while (board->ready < hostiles && now() - begun < 30) usleep(1000);
    for (board->go = 1; board->held < holders && now() - begun < 30;) usleep(1000);
    /* That nobody waited would say nothing. */
    if (board->held < holders) fprintf(stderr, "only %d of %d hold something\n", board->held, holders), end_all(), exit(3);
}
static int outcome(void) {
    if (board->failed) return fprintf(stderr, "an honest %s failed: %s\n", board->slowest, strerror(board->failed)), WORKED;
    if (board->held_up_to <= TOO_LONG) fprintf(stderr, "held for %.2f s only\n", board->held_up_to), exit(3);
    fprintf(stderr, "an honest %s took %.2f s\n", board->slowest, board->worst);
    return board->worst > TOO_LONG ? WORKED : EAGAIN;
}
enum honest_one { RUNTIME, CHILD };
static int measure(enum honest_one who) {
    let_go();
    pid_t child = who == CHILD ? fork() : 0;
    if (!child) be_honest();
    if (who == CHILD && !child) _exit(0);
    int status = 0;
    if (child && (waitpid(child, &status, 0) != child || status)) board->failed = ECHILD, board->slowest = "child";
    board->held_up_to = held_for(), end_all();
    return outcome();
}

/* A process holds the lock of its own memory: a thread of it changes gigabytes of mappings. */
static char *range;
static size_t spread;
static volatile int held;
static void (*locking)(char *);
static void lay_out(size_t size) {
    int file = (int)syscall(SYS_memfd_create, "large", 0);
    range = mmap(0, spread = size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED || ftruncate(file, (off_t)SLICE)) _exit(1);
    mprotect(range, FRESH, PROT_READ | PROT_WRITE);
    for (size_t at = FRESH; at < size; at += SLICE)
        mmap(range + at, SLICE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, file, 0);
}
static void be_idle(void) {
    struct sched_param none = {0};
    pin(1), sched_setscheduler(0, SCHED_IDLE, &none);
}
static void *hold_memory(void *unused) {
    be_idle();
    for (int i = 0;; i++) {
        held = 1;
        if (!locking) take();
        mprotect(range, spread, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ);
    }
    return unused;
}
static void begin(void *(*run)(void *)) {
    static pthread_attr_t small;
    pthread_t id;
    pthread_attr_init(&small), pthread_attr_setstacksize(&small, 64 << 10);
    if (pthread_create(&id, &small, run, 0)) _exit(1);
}

/* What the guard has to read there for one of its calls. */
static struct sockaddr_in there;
static char there_path[160];
static char *const there_arguments[] = {there_path, 0};
static void stalled_connect(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    connect(fd, (void *)&there, sizeof there), close(fd);
}
static void stalled_open(void) { close(open(there_path, O_WRONLY | O_CREAT, 0600)); }
static void stalled_send(void) {
    static struct iovec piece = {"x", 1};
    struct msghdr message = {.msg_name = &there, .msg_namelen = sizeof there, .msg_iov = &piece, .msg_iovlen = 1};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    sendmsg(fd, &message, 0), close(fd);
}
static int become(void *unused) {
    syscall(SYS_execve, there_path, there_arguments, there_arguments + 1);
    return unused != 0;
}
static void stalled_exec(void) {
    static char stack[16384];
    waitpid(clone(become, stack + sizeof stack, CLONE_VM | SIGCHLD, 0), 0, 0);
}
static void (*stalled)(void);
static int callers, pause_between = 10000; /* microseconds */
static size_t width;
static void *call_again(void *unused) {
    pin(0);
    while (!held) usleep(1000);
    for (;;) stalled(), usleep(pause_between);
    return unused;
}
static void call_from_held_memory(void) {
    lay_out(width);
    for (int i = 0; i < callers; i++) begin(call_again);
    wait_for_all(), begin(hold_memory);
}
static int memory_held(void (*call)(void), int processes, int threads, enum honest_one who) {
    prepare();
    stalled = call, callers = threads, width = processes > 1 ? 512ul << 20 : 2048ul << 20, there = inet(ALLOWED, port);
    strcpy(there_path, call == stalled_exec ? "/usr/bin/true" : held_file);
    start_takers(processes, 2);
    for (int i = 0; i < processes; i++) start(call_from_held_memory);
    return measure(who);
}
static int at_connect(void) { return memory_held(stalled_connect, 1, 1, RUNTIME); }
static int at_open(void) { return memory_held(stalled_open, 1, 1, RUNTIME); }
static int at_send(void) { return memory_held(stalled_send, 1, 1, RUNTIME); }
static int at_exec(void) { return memory_held(stalled_exec, 1, 1, RUNTIME); }
/* The same of more than the guard can have threads for, unless it lets nobody have all. */
static int by_processes(void) { return memory_held(stalled_connect, 40, 1, RUNTIME); }
static int by_processes_child(void) { return memory_held(stalled_connect, 40, 1, CHILD); }
static int by_threads(void) { return memory_held(stalled_connect, 1, 200, RUNTIME); }
static int by_threads_child(void) { return memory_held(stalled_connect, 1, 200, CHILD); }
/* Who is in the middle of an exec is locked against looks, and is so for as long as somebody else who shares his memory
   holds that. The look at what he has become waits, with what it has locked itself. */
static volatile pid_t executing;
static char much[15][120 << 10]; /* takes the kernel some time to copy, between the verdict and the lock */
static int become_slowly(void *unused) {
    static char *arguments[17] = {there_path};
    for (int i = 0; i < 15; i++) memset(much[i], 'x', sizeof much[i] - 1), arguments[i + 1] = much[i];
    pin(0), syscall(SYS_execve, there_path, arguments, arguments + 16);
    return unused != 0;
}
/* Until the verdict is there: a call that waits for it has a number in proc(5), one that goes on has none for a moment. */
static void wait_for_verdict(int call) {
    char text[32] = "";
    int asked = 0;
    for (double begun = now(); now() - begun < 0.1;) {
        ssize_t length = pread(call, text, sizeof text - 1, 0);
        text[length < 0 ? 0 : length] = 0;
        if (atoi(text) == SYS_execve) asked = 1;
        else if (asked) return;
    }
}
static void *hold_memory_in_exec(void *unused) {
    static char path[64];
    pin(1);
    while (!executing) {}
    snprintf(path, sizeof path, "/proc/%d/syscall", executing);
    int call = open(path, O_RDONLY);
    wait_for_verdict(call), be_idle();
    return hold_memory(unused);
}
static void exec_with_held_memory(void) {
    static char stack[16384];
    lay_out(width), begin(hold_memory_in_exec), wait_for_all(), usleep(50000);
    executing = clone(become_slowly, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
}
static int exec_held(void) {
    prepare();
    width = 2048ul << 20, strcpy(there_path, "/usr/bin/true");
    start_takers(1, 2);
    start(exec_with_held_memory);
    return measure(RUNTIME);
}
/* While nobody looks, what was swapped in runs on: those whose exec was let go ahead just before. */
static struct beat *pulse;
static char place[256];
static void *swap_programs(void *unused) {
    for (unsigned i = 0;; i++) {
        strcpy(place, i & 1 ? self : "/usr/bin/true");
        for (volatile unsigned pause = 0; pause < i * 7 % 3000; pause++) {}
    }
    return unused;
}
static int become_what_is_there(void *unused) {
    static char *const arguments[] = {"mark", "beat", 0};
    return syscall(SYS_execve, place, arguments, arguments + 2) || unused;
}
static void *exec_again(void *unused) {
    char stack[16384];
    for (;;) {
        pid_t child = clone(become_what_is_there, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
        if (child > 0) waitpid(child, 0, 0);
    }
    return unused;
}
static void exec_what_is_swapped(void) {
    strcpy(place, "/usr/bin/true");
    begin(swap_programs), wait_for_all();
    for (int i = 0; i < 6; i++) begin(exec_again);
}
static double lives_for(void) {
    *board = (struct board){0}, *pulse = (struct beat){0};
    start_takers(1, 2), start(exec_with_held_memory);
    start(exec_what_is_swapped);
    let_go(), board->until = now() + 1.4, usleep(1400000), end_all();
    return pulse->last - pulse->first;
}
static int look_held(void) {
    prepare();
    int file = (int)syscall(SYS_memfd_create, "beat", 0);
    if (file < 0 || ftruncate(file, sizeof *pulse) || dup2(file, BEAT) < 0) return errno;
    pulse = mmap(0, sizeof *pulse, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    width = 2048ul << 20, strcpy(there_path, "/usr/bin/true");
    double lived = 0;
    for (int i = 0; i < share_of(24) && lived <= TOO_LONG; i++) lived = lives_for();
    if (lived > TOO_LONG) fprintf(stderr, "it ran for %.1f s\n", lived);
    return lived > TOO_LONG ? WORKED : NOT_SEEN;
}

/* What is locked while the kernel copies from or to a process's memory is locked for as long as the memory is. Another
   process, whose own memory is free, asks the guard for something that needs it: to make a file in a folder that is
   being read, to cut a file short that is being written, to bind a socket that is sending. */
enum { PAGE = 4096 };
static int wanted = -1;
static void read_folder(char *page) { lseek(wanted, 0, SEEK_SET), syscall(SYS_getdents64, wanted, page, PAGE); }
static void write_file(char *page) { if (pwrite(wanted, page, PAGE, 0) < 0) errno = 0; }
/* A datagram of several parts, each copied under the socket's lock; without more parts it goes out. */
static void send_data(char *page) {
    if (send(wanted, page, PAGE, MSG_DONTWAIT | MSG_MORE) < 0) send(wanted, page, 0, MSG_DONTWAIT);
}
static void *lock_again(void *unused) {
    pin(0);
    while (!held) usleep(1000);
    for (size_t at = 0;; at += PAGE) take(), locking(range + at % FRESH), usleep(100);
    return unused;
}
static void lock_by_memory(void) {
    lay_out(width), begin(lock_again), wait_for_all(), begin(hold_memory);
}
static void make_file(void) {
    close(open(there_path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    unlink(there_path);
}
static void cut_file(void) { close(open(there_path, O_WRONLY | O_TRUNC)); }
static void bind_again(void) { bind(wanted, (void *)&there, sizeof there); }
/* The node is made in the working folder of who asks, which the guard has but one of. */
static void make_node(void) {
    static const struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "node"};
    if (chdir(held_folder)) _exit(1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bind(fd, (void *)&at, sizeof at), close(fd), unlink(at.sun_path);
}
static void ask_for_it(void) {
    wait_for_all(), begin(call_again), held = 1;
}
static int locked(void (*by)(char *), void (*call)(void)) {
    locking = by, stalled = call, width = 2048ul << 20, there = inet(ALLOWED, port);
    start_takers(1, 2);
    start(lock_by_memory), start(ask_for_it);
    return measure(RUNTIME);
}
static int folder_held(void (*call)(void)) {
    prepare();
    char path[200];
    for (int i = 0; i < 50; i++) snprintf(path, sizeof path, "%s/%d", held_folder, i), mkdir(path, 0700);
    snprintf(there_path, sizeof there_path, "%s/new", held_folder);
    wanted = open(held_folder, O_RDONLY | O_DIRECTORY);
    return locked(read_folder, call);
}
static int folder_held_at_open(void) { return folder_held(make_file); }
static int folder_held_at_bind(void) { return folder_held(make_node); }
static int file_held(void) {
    prepare();
    strcpy(there_path, held_file);
    wanted = open(held_file, O_WRONLY);
    return locked(write_file, cut_file);
}
static int socket_held(void) {
    prepare();
    struct sockaddr_in to = inet(ALLOWED, port);
    if (connect(wanted = socket(AF_INET, SOCK_DGRAM, 0), (void *)&to, sizeof to)) return errno;
    return locked(send_data, bind_again);
}
/* A descriptor is put into a caller by the caller himself, when he next runs: one at idle priority runs when he can. */
static void *open_idly(void *unused) {
    be_idle();
    for (;;) take(), stalled_open();
    return unused;
}
static void ask_idly(void) { wait_for_all(), begin(open_idly); }
static int idle_caller(void) {
    prepare();
    strcpy(there_path, held_file);
    start_takers(1, 8), start(ask_idly);
    return measure(RUNTIME);
}

/* Short stalls, but one after the other: who waits for each only as long as it takes gets nothing else done. A few
   processes hold their memory in turn, each for some milliseconds. */
enum { HONEST = 200, SHORT = 4 };
static double connects(void) {
    double waited = 0;
    for (int i = 0; i < HONEST && waited < AT_MOST; i++, usleep(1000)) {
        double one = now();
        int error = connect_once();
        if (error) {
            fprintf(stderr, "an honest connect failed: %s\n", strerror(error));
            return 1e9;
        }
        waited += now() - one;
    }
    return waited;
}
static void *hold_memory_shortly(void *unused) {
    pin(1);
    for (int i = 0;; i++) {
        held = 1, take();
        mprotect(range, spread, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ);
    }
    return unused;
}
static void call_from_shortly_held_memory(void) {
    lay_out(width);
    for (int i = 0; i < callers; i++) begin(call_again);
    wait_for_all(), begin(hold_memory_shortly);
}
static int short_stalls(void) {
    prepare(), pin(0);
    double quiet = connects();
    stalled = stalled_connect, callers = 4, pause_between = 500, width = 256ul << 20, there = inet(ALLOWED, port);
    for (holders = 0; holders < SHORT; holders++) start(call_from_shortly_held_memory);
    let_go(), board->until = now() + 10 * WHILE, usleep(200000);
    double disturbed = connects();
    end_all();
    fprintf(stderr, "%d honest connects took %.2f s, and %.3f s without\n", HONEST, disturbed, quiet);
    return disturbed > TOO_LONG && disturbed > 20 * quiet ? WORKED : EAGAIN;
}

/* Where the function has as many processes as it may, the guard can start no thread in the place of one that is held up. */
static pid_t filling[1024];
static int filled;
static void fill(void) {
    while (filled < 1024 && (filling[filled] = fork()) >= 0) {
        if (!filling[filled]) {
            prctl(PR_SET_PDEATHSIG, SIGKILL), alarm(60);
            for (;;) pause();
        }
        filled++;
    }
}
static void empty(int leave) {
    while (filled > leave) kill(filling[--filled], SIGKILL), waitpid(filling[filled], 0, 0);
}
static int no_room(void) {
    prepare(), pin(0);
    double quiet = connects();
    stalled = stalled_connect, callers = 1, width = 2048ul << 20, there = inet(ALLOWED, port);
    start_takers(1, 2), start(call_from_held_memory);
    double begun = now();
    while (board->ready < hostiles && now() - begun < 30) usleep(1000);
    fill();
    if (filled == 1024) return ABSENT; /* who may do everything has no such limit */
    /* The hostile process needs room for one thread more. */
    empty(filled - 2);
    let_go(), board->until = now() + 10 * WHILE, usleep(200000);
    fill();
    double disturbed = 0, longest = 0, round;
    for (begun = now(); longest <= TOO_LONG && now() - begun < 10 * WHILE; longest = held_for())
        if ((round = connects()) > disturbed) disturbed = round;
    end_all();
    empty(0);
    if (longest <= TOO_LONG) fprintf(stderr, "held for %.2f s only\n", longest), exit(3);
    fprintf(stderr, "%d honest connects took %.2f s, and %.3f s without\n", HONEST, disturbed, quiet);
    return disturbed > TOO_LONG && disturbed > 20 * quiet ? WORKED : EAGAIN;
}

/* The folder /proc itself: names that it has not shown yet are looked for with its lock, which who makes a folder there, though
   he may not, wants for himself alone. Whoever is new to the guard is looked up there. */
static void make_in_proc(void) {
    be_idle(), pin(1), wait_for_all();
    for (;;) mkdir("/proc/ringfence", 0700);
}
static void look_in_proc(void) {
    char path[64];
    be_idle(), pin(1), wait_for_all();
    for (unsigned i = 0;; i++) snprintf(path, sizeof path, "/proc/ringfence-%u", i), close(open(path, O_RDONLY));
}
static void be_new_again_and_again(void) {
    wait_for_all();
    for (;;) {
        pid_t child = fork();
        if (!child) prctl(PR_SET_PDEATHSIG, SIGKILL), alarm(60), connect_once(), _exit(0);
        waitpid(child, 0, 0);
    }
}
static int proc_held(void) {
    prepare(), pin(0);
    double quiet = connects();
    start_takers(0, 2);
    for (int i = 0; i < 4; i++) start(make_in_proc), start(look_in_proc);
    for (int i = 0; i < 4; i++) start(be_new_again_and_again);
    let_go(), board->until = now() + 10 * WHILE, usleep(200000);
    double disturbed = connects();
    end_all();
    fprintf(stderr, "%d honest connects took %.2f s, and %.3f s without\n", HONEST, disturbed, quiet);
    return disturbed > TOO_LONG && disturbed > 20 * quiet ? WORKED : EAGAIN;
}

const struct attack stalls[] = {
    {"held-memory-at-connect", at_connect, STALL}, {"held-memory-at-open", at_open, STALL},
    {"held-memory-at-send", at_send, STALL}, {"held-memory-at-exec", at_exec, STALL},
    {"held-memory-of-forty-processes", by_processes, STALL},
    {"held-memory-of-forty-processes-and-a-child", by_processes_child, STALL},
    {"held-memory-of-two-hundred-threads", by_threads, STALL},
    {"held-memory-of-two-hundred-threads-and-a-child", by_threads_child, STALL},
    {"exec-that-is-held", exec_held, STALL}, {"swapped-in-while-a-look-is-held", look_held, ON_GUARD},
    {"folder-that-is-held-at-open", folder_held_at_open, STALL},
    {"folder-that-is-held-at-bind", folder_held_at_bind, STALL}, {"file-that-is-held", file_held, STALL},
    {"socket-that-is-held", socket_held, STALL},
    {"answer-to-an-idle-caller", idle_caller, STALL},
    {"short-stalls-again-and-again", short_stalls, STALL}, {"proc-that-is-held", proc_held, STALL},
    {"no-room-for-threads", no_room, STALL},
    {0},
};
