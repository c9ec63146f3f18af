// A child of the function: does one thing and says how it went. "through" on its output means that nothing was in the way.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int say(int done) {
    printf("%s\n", done ? "through" : strerror(errno));
    fflush(stdout);
    return 0;
}

// Long enough for what looks at processes from outside.
static int linger(int milliseconds) {
    say(1);
    usleep(milliseconds * 1000);
    return 0;
}

static int print(const char *name) {
    extern char **environ;
    size_t length = strlen(name);
    for (char **entry = environ; *entry; entry++)
        if (!strncmp(*entry, name, length) && (*entry)[length] == '=') return say(1);
    puts("absent");
    return 0;
}

static int open_files(rlim_t most) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    puts(limit.rlim_cur > most ? "through" : "limited");
    return 0;
}

static int copy(const char *from, const char *to) {
    static char buffer[1 << 16];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    ssize_t length = 0;
    while (in >= 0 && out >= 0 && (length = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, length) != length) return say(0);
    return say(in >= 0 && out >= 0 && length == 0);
}

// The Runtime API answers whatever it is asked.
static int api(const char *address) {
    char host[64] = "", answer[1];
    int port = 0;
    if (!address || sscanf(address, "%63[^:]:%d", host, &port) != 2) return say(0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int socket_ = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(socket_, (struct sockaddr *)&to, sizeof to)) return say(0);
    dprintf(socket_, "GET /truth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return say(read(socket_, answer, 1) == 1);
}

// For runtimes that cannot listen by themselves.
static int listen_on(const char *host, int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &at.sin_addr);
    int socket_ = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(socket_, (struct sockaddr *)&at, sizeof at) || listen(socket_, 1)) return say(0);
    return linger(500);
}

// EFAULT is the kernel's leave: it would have read, had there been memory.
static int peek(pid_t process) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)8, 1};
    return say(process_vm_readv(process, &here, 1, &there, 1, 0) == 1 || errno == EFAULT);
}

// Whether a process with this argument lives, other than this one.
static int alive(const char *mark) {
    DIR *processes = opendir("/proc");
    struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        char path[300], text[512];
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int file = atoi(entry->d_name) > 0 && atoi(entry->d_name) != getpid() ? open(path, O_RDONLY) : -1;
        ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
        close(file);
        for (ssize_t at = 0; at < length; at += strlen(text + at) + 1)
            if (text[length] = 0, !strcmp(text + at, mark)) return say(1);
    }
    puts("gone");
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "", *first = argc > 2 ? argv[2] : "", *second = argc > 3 ? argv[3] : "";
    if (!strcmp(what, "linger")) return linger(atoi(first));
    if (!strcmp(what, "print")) return print(first);
    if (!strcmp(what, "open-files")) return open_files(atoi(first));
    if (!strcmp(what, "copy")) return copy(first, second);
    if (!strcmp(what, "chmod")) return say(chmod(first, 0600) == 0 || errno == ENOENT);
    if (!strcmp(what, "api")) return api(getenv("AWS_LAMBDA_RUNTIME_API"));
    if (!strcmp(what, "listen")) return listen_on(first, atoi(second));
    if (!strcmp(what, "peek")) return peek(getppid());
    if (!strcmp(what, "exists")) return say(access(first, F_OK) == 0);
    if (!strcmp(what, "alive")) return alive(first);
    return 2;
}
