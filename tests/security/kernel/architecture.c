/* Tricks of one architecture: other tables of calls, numbers that are none, pointers with something in their top byte.
   What the other architecture has is absent here. */
#include "attack.h"
#include <sys/personality.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>

static int port, at;
/* One datagram to an address by a way of its own: WORKED if it arrives. */
static int reach(long (*send)(int, struct sockaddr_in *), uint32_t address) {
    port = 0, at = receiver(SOCK_DGRAM, address, &port);
    struct sockaddr_in to = inet(address, port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    long done = send(fd, &to);
    int error = errno, seen = arrived(at, SOCK_DGRAM);
    close(fd), close(at);
    return seen == WORKED ? WORKED : done < 0 ? error : NOT_SEEN;
}
static long numbered(long number, int fd, struct sockaddr_in *to) {
    return syscall(number, fd, "x", 1, 0, to, sizeof *to);
}
static long plainly(int fd, struct sockaddr_in *to) { return numbered(SYS_sendto, fd, to); }

/* Only the low half of the number counts. */
static long high_word(int fd, struct sockaddr_in *to) { return numbered((long)(0xffffffff00000000ul | SYS_sendto), fd, to); }
static int high_half(void) {
    int outcome = reach(high_word, FORBIDDEN);
    /* Linux 5.10 for x86_64 looks at all of the number, and knows no such call. */
    return outcome != WORKED && !guarded ? ABSENT : outcome;
}
/* What is no number is no call, and harms nobody: what is allowed goes on as before. */
static const long beyond[] = {-1, 0xffffffff, 0x7fffffff, 0x40000000 | SYS_sendto, 0x80000000 | SYS_sendto, 1l << 32 | 0xffffffff};
static unsigned nth;
static long no_number(int fd, struct sockaddr_in *to) { return numbered(beyond[nth], fd, to); }
static int no_numbers(void) {
    for (nth = 0; nth < sizeof beyond / sizeof *beyond; nth++) {
        int outcome = reach(no_number, FORBIDDEN);
        if (outcome != ENOSYS) return fprintf(stderr, "number %lx: %d\n", beyond[nth], outcome), WORKED;
    }
    if (reach(plainly, ALLOWED) != WORKED) return fprintf(stderr, "no call goes through any more\n"), WORKED;
    return ENOSYS;
}

/* A tracer that makes a harmless call another one, with the arguments that stand there already. */
#ifdef __aarch64__
static long number_of(pid_t child, long wanted) {
    enum { NUMBER_REGISTER_SET = 0x404 }; /* NT_ARM_SYSTEM_CALL: x8 itself is not looked at any more */
    int number = -1;
    struct iovec one = {&number, sizeof number};
    ptrace(PTRACE_GETREGSET, child, NUMBER_REGISTER_SET, &one);
    if (number != SYS_getppid) return 0;
    number = (int)wanted;
    return ptrace(PTRACE_SETREGSET, child, NUMBER_REGISTER_SET, &one);
}
#else
static long number_of(pid_t child, long wanted) {
    size_t place = offsetof(struct user_regs_struct, orig_rax);
    return ptrace(PTRACE_PEEKUSER, child, place, 0) != SYS_getppid ? 0 : ptrace(PTRACE_POKEUSER, child, place, wanted);
}
#endif
static long renumbered(int fd, struct sockaddr_in *to) {
    int status = 0;
    pid_t child = fork();
    if (!child) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0)) _exit(errno);
        raise(SIGSTOP);
        numbered(SYS_getppid, fd, to);
        _exit(0);
    }
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status))
        if (number_of(child, SYS_sendto) || ptrace(PTRACE_SYSCALL, child, 0, 0)) kill(child, SIGKILL);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return errno ? -1 : 0;
}
static int by_tracer(void) { return reach(renumbered, FORBIDDEN); }

#ifdef __x86_64__
static int old_entry(void) {
    int number = 20, result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number) : "memory", "r8", "r9", "r10", "r11");
    return result > 0 ? WORKED : -result;
}
static int old_entries(void) { int outcome = in_child(old_entry); return outcome != WORKED && !guarded ? ABSENT : outcome; }
static long with_x32_bit(int fd, struct sockaddr_in *to) { return numbered(0x40000000 | SYS_sendto, fd, to); }
static int x32(void) { int outcome = reach(with_x32_bit, FORBIDDEN); return outcome == ENOSYS && !guarded ? ABSENT : outcome; }
#else
static int old_entries(void) { return ABSENT; }
static int x32(void) { return ABSENT; }
#endif

#ifdef __aarch64__
/* A program for 32 bits, which the policy allows by its name (compat.s): the filter knows no table but the native one.
   It ends with 42 or 43; that it ends by itself at all shows that it has made a call. */
static int other_bits(void) {
    char number[16];
    int status = 0, receiving = (port = 0, receiver(SOCK_DGRAM, FORBIDDEN, &port));
    if (access("/usr/bin/compat", X_OK)) return ABSENT;
    snprintf(number, sizeof number, "%d", port);
    pid_t child = fork();
    if (!child) { execl("/usr/bin/compat", "compat", number, (char *)0); _exit(errno == ENOEXEC ? 44 : 45); }
    waitpid(child, &status, 0);
    if (arrived(receiving, SOCK_DGRAM) == WORKED) return WORKED;
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGSYS ? EPERM : WORKED;
    return WEXITSTATUS(status) == 44 ? ABSENT : guarded ? WORKED : NOT_SEEN;
}

/* Pointers with a tag in the top byte, which the kernel takes where a process has asked for it (Documentation/arm64/
   tagged-address-abi): what the guard reads through them must be what the kernel would read. What is allowed must arrive
   by the same way, or the refusal would show nothing. */
static void *tagged(const void *at_address) { return (void *)((uintptr_t)at_address | 0xb5ul << 56); }
static int no_tags(void) { return prctl(55, 1, 0, 0, 0) && !guarded; } /* PR_SET_TAGGED_ADDR_CTRL */
static long tagged_connect(int fd, struct sockaddr_in *to) {
    long done = syscall(SYS_connect, fd, tagged(to), sizeof *to);
    return done ? done : write(fd, "x", 1);
}
static long tagged_sendto(int fd, struct sockaddr_in *to) { return syscall(SYS_sendto, fd, tagged("x"), 1, 0, tagged(to), sizeof *to); }
static struct iovec piece;
static struct msghdr message(struct sockaddr_in *to) {
    piece = (struct iovec){tagged("x"), 1};
    return (struct msghdr){.msg_name = tagged(to), .msg_namelen = sizeof *to, .msg_iov = tagged(&piece), .msg_iovlen = 1};
}
static long tagged_name(int fd, struct sockaddr_in *to) { struct msghdr header = message(to); return syscall(SYS_sendmsg, fd, &header, 0); }
static long tagged_message(int fd, struct sockaddr_in *to) { struct msghdr header = message(to); return syscall(SYS_sendmsg, fd, tagged(&header), 0); }
static long tagged_many(int fd, struct sockaddr_in *to) {
    struct mmsghdr header = {.msg_hdr = message(to)};
    long done = syscall(SYS_sendmmsg, fd, tagged(&header), 1, 0);
    return done == 1 && header.msg_len != 1 ? (errno = EIO, -1) : done;
}
static int by_tag(long (*send)(int, struct sockaddr_in *)) {
    if (no_tags()) return ABSENT;
    int outcome = reach(send, ALLOWED);
    if (outcome != WORKED) return guarded ? fprintf(stderr, "a tagged pointer is not taken: %d\n", outcome), WORKED : outcome;
    return reach(send, FORBIDDEN);
}
static pid_t start(const char *program) {
    pid_t child = fork();
    char *arguments[] = {"mark", "mark", 0};
    if (!child) { syscall(SYS_execve, tagged(program), tagged(arguments), 0); _exit(errno); }
    return child;
}
static int exec_by_tag(void) {
    int status = 0;
    char path[256];
    if (no_tags()) return ABSENT;
    /* Exec goes ahead in the kernel, which takes no tag where prctl(2) is refused. */
    waitpid(start("/usr/bin/true"), &status, 0);
    int allowed = WIFEXITED(status) && (!WEXITSTATUS(status) || WEXITSTATUS(status) == EFAULT);
    if (!allowed) return guarded ? fprintf(stderr, "an allowed exec: status %x\n", status), WORKED : NOT_SEEN;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return ran(start(path));
}
static int write_by_tag(void) {
    char path[256], own[64], byte;
    snprintf(path, sizeof path, "%s/kept", getenv("RINGFENCE_DENIED"));
    snprintf(own, sizeof own, "/tmp/ringfence-tag-%d", getpid());
    if (no_tags()) return ABSENT;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, tagged(own), O_RDWR | O_CREAT, 0600);
    if (fd < 0 || unlink(own)) return guarded ? fprintf(stderr, "a tagged path is not taken: %d\n", errno), WORKED : errno;
    fd = (int)syscall(SYS_openat, AT_FDCWD, tagged(path), O_RDWR);
    return fd < 0 ? errno : write(fd, "!", 1) == 1 && pread(fd, &byte, 1, 0) == 1 && byte == '!' ? WORKED : NOT_SEEN;
}
#define TAG(name) static int by_##name(void) { return by_tag(name); }
TAG(tagged_connect)
TAG(tagged_sendto)
TAG(tagged_name)
TAG(tagged_message)
TAG(tagged_many)
#else
static int other_bits(void) { return ABSENT; }
static int exec_by_tag(void) { return ABSENT; }
static int write_by_tag(void) { return ABSENT; }
#define TAG(name) static int by_##name(void) { return ABSENT; }
TAG(tagged_connect)
TAG(tagged_sendto)
TAG(tagged_name)
TAG(tagged_message)
TAG(tagged_many)
#endif

/* What is only readable becomes code, without a call that says so. */
static int implied(void) { return OUTCOME(personality(0x400000)); }
static int implied_code(void) { return in_child(implied); }
static int fixed(void) { return OUTCOME((int)syscall(SYS_personality, 0x100040000)); }
static int fixed_addresses(void) { return in_child(fixed); }

const struct attack architecture[] = {
    {"code-by-personality", implied_code, PLAIN}, {"addresses-by-personality", fixed_addresses, PLAIN},
    {"int-0x80", old_entries, PLAIN}, {"x32", x32, PLAIN}, {"program-of-32-bits", other_bits, PLAIN},
    {"number-with-high-word", high_half, PLAIN}, {"number-that-is-none", no_numbers, ON_GUARD},
    {"number-changed-by-tracer", by_tracer, PLAIN}, {"tagged-connect", by_tagged_connect, PLAIN},
    {"tagged-sendto", by_tagged_sendto, PLAIN}, {"tagged-name-in-message", by_tagged_name, PLAIN},
    {"tagged-message", by_tagged_message, PLAIN}, {"tagged-messages", by_tagged_many, PLAIN},
    {"tagged-exec", exec_by_tag, PLAIN}, {"tagged-write", write_by_tag, PLAIN},
    {0},
};
