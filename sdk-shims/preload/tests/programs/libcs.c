/* Attacks by way of whatever the C library offers, then honest work. Prints a line each: name, 1 where it went through.
 * Run in the root folder that libcs.rs prepares; argv[1] is the agent's process id. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DENIED "/usr/bin/denied"
#define ALLOWED "/usr/bin/allowed"
#define SECRET "/etc/secrets/key"
static char *const seven[] = {"sh", "-c", "exit 7", 0};
static char *const through_child[] = {"sh", "-c", DENIED, 0};
static char *const none[] = {0};

static void say(const char *name, int through) { printf("%s %d\n", name, through); fflush(stdout); }
static int ended_with_seven(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 7; }

/* Whether what `run` execs in a child ends as only the program that is denied, or allowed, does. */
static int child(void (*run)(void)) {
  int status = 0;
  pid_t pid = fork();
  if (pid == 0) { run(); _exit(1); }
  waitpid(pid, &status, 0);
  return ended_with_seven(status);
}
static void by_execv(void) { execv(DENIED, seven); }
static void by_execvp(void) { execvp("denied", seven); }
static void by_fexecve(void) { fexecve(open(DENIED, O_RDONLY), seven, none); }
static void by_number(void) { syscall(SYS_execve, DENIED, seven, none); }
static void at_by_number(void) { syscall(SYS_execveat, AT_FDCWD, DENIED, seven, none, 0); }
static void by_handle(void) { ((int (*)(const char *, char *const *, char *const *))dlsym(RTLD_DEFAULT, "execve"))(DENIED, seven, none); }
static void of_static(void) { execve("/usr/bin/static", seven, none); }
static void by_cleared_child(void) { execve(ALLOWED, through_child, none); }
static void allowed(void) { execve(ALLOWED, seven, none); }
static void of_memory(void) {
  char buffer[4096], path[64];
  int from = open(DENIED, O_RDONLY), to = memfd_create("x", 0);
  for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;) if (write(to, buffer, n) != n) _exit(2);
  snprintf(path, sizeof path, "/proc/self/fd/%d", to);
  execve(path, seven, none);
}
static int spawned(const char *program) {
  pid_t pid;
  int status = 0;
  if (posix_spawn(&pid, program, 0, 0, seven, none) != 0) return 0;
  waitpid(pid, &status, 0);
  return ended_with_seven(status);
}
static int spawned_with_file(void) {
  char *const reads[] = {"sh", "-c", "read x && exit 7", 0};
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int status = 0;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, SECRET, O_RDONLY, 0);
  if (posix_spawn(&pid, ALLOWED, &actions, 0, reads, none) != 0) return 0;
  waitpid(pid, &status, 0);
  return ended_with_seven(status);
}
static int popened(void) {
  FILE *pipe = popen("exit 7", "r");
  return pipe && ended_with_seven(pclose(pipe));
}
static int opened(int file) { if (file >= 0) close(file); return file >= 0; }
static int fopened(const char *path, const char *mode) { FILE *file = fopen(path, mode); if (file) fclose(file); return file != 0; }
static int dir_opened(const char *path) { DIR *dir = opendir(path); if (dir) closedir(dir); return dir != 0; }
static int dropped(const char *target) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
  inet_pton(AF_INET, target, &to.sin_addr);
  int socket_ = socket(AF_INET, SOCK_DGRAM, 0), through = connect(socket_, (void *)&to, sizeof to) == 0;
  close(socket_);
  return through;
}
static int sent(int by_message) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
  struct iovec part = {"x", 1};
  struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1};
  inet_pton(AF_INET, "127.0.0.2", &to.sin_addr);
  int socket_ = socket(AF_INET, SOCK_DGRAM, 0);
  long through = by_message ? sendmsg(socket_, &message, 0) : sendto(socket_, "x", 1, 0, (void *)&to, sizeof to);
  close(socket_);
  return through == 1;
}
static int text_made_writable(void) {
  char *page = (char *)((long)dlsym(RTLD_DEFAULT, "execve") & -4096L);
  int through = mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0;
  if (through) mprotect(page, 4096, PROT_READ | PROT_EXEC);
  return through;
}
static int mapped(const char *path) {
  int file = open(path, O_RDONLY);
  char *map = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
  close(file);
  return map != MAP_FAILED;
}
static int opened_uncancellably(void) {
  int before, through;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  through = opened(open(SECRET, O_RDONLY));
  pthread_setcancelstate(before, 0);
  return through;
}
static int sent_uncancellably(void) {
  int before, through;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  through = dropped("127.0.0.2") || sent(0) || sent(1);
  pthread_setcancelstate(before, 0);
  return through;
}
static void *in_thread(void *argument) { *(int *)argument = child(allowed); return 0; }

int main(int count, char **arguments) {
  pid_t agent = count > 1 ? atoi(arguments[1]) : 0;
  say("execv", child(by_execv));
  say("execvp", child(by_execvp));
  say("fexecve", child(by_fexecve));
  say("syscall-execve", child(by_number));
  say("syscall-execveat", child(at_by_number));
  say("dlsym-execve", child(by_handle));
  say("static", child(of_static));
  say("memfd", child(of_memory));
  say("cleared-child", child(by_cleared_child));
  say("posix_spawn", spawned(DENIED));
  say("posix_spawn-addopen", spawned_with_file());
  say("system", ended_with_seven(system("exit 7")));
  say("popen", popened());
  say("open", opened(open(SECRET, O_RDONLY)));
  say("openat", opened(openat(AT_FDCWD, SECRET, O_RDONLY)));
  say("fopen", fopened(SECRET, "r"));
  say("freopen", freopen(SECRET, "r", stdin) != 0);
  say("syscall-open", opened(syscall(SYS_open, SECRET, O_RDONLY)));
  say("opendir", dir_opened("/etc/secrets/folder"));
  say("fopen-w", fopened("/etc/locked/file", "w"));
  say("rename", rename("/etc/locked/a", "/etc/locked/b") == 0);
  say("connect", dropped("127.0.0.2"));
  say("sendto", sent(0));
  say("sendmsg", sent(1));
  say("open-uncancellable", opened_uncancellably());
  say("network-uncancellable", sent_uncancellably());
  say("kill", agent && kill(agent, SIGCONT) == 0);
  say("ptrace", ptrace(PTRACE_ATTACH, agent, 0, 0) == 0);
  say("mprotect", text_made_writable());
  say("mmap", mapped("/tmp/library"));

  int inside = 0, pair[2], flags;
  pthread_t thread;
  pthread_create(&thread, 0, in_thread, &inside);
  pthread_join(thread, 0);
  say("+thread", inside);
  say("+exec", child(allowed));
  say("+spawn", spawned(ALLOWED));
  say("+open", opened(open("/etc/plain", O_RDONLY)) && fopened("/etc/plain", "r") && dir_opened("/etc"));
  say("+write", fopened("/tmp/written", "w+") && unlink("/tmp/written") == 0);
  say("+connect", dropped("127.0.0.1"));
  say("+pair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0 && write(pair[0], "x", 1) == 1);
  flags = fcntl(pair[0], F_GETFL);
  say("+fcntl", flags >= 0 && fcntl(pair[0], F_SETFL, flags | O_APPEND) == 0 && fcntl(pair[0], F_DUPFD_CLOEXEC, 20) >= 20);
  say("+dup", dup2(pair[0], 200) == 200 && dup3(pair[1], 201, O_CLOEXEC) == 201 && close(200) == 0);
  say("+pipe", pipe2(pair, O_CLOEXEC) == 0);
  say("+tmpfile", tmpfile() != 0);
  say("+syscall", syscall(SYS_getpid) == getpid());
  say("+raise", raise(0) == 0 && kill(getpid(), 0) == 0);
  say("+limits", sysconf(_SC_NPROCESSORS_ONLN) > 0 && sysconf(_SC_OPEN_MAX) > 0);
  struct addrinfo *found = 0, hints = {.ai_flags = AI_NUMERICHOST};
  say("+getaddrinfo", getaddrinfo("127.0.0.1", "80", &hints, &found) == 0);
  return 0;
}
