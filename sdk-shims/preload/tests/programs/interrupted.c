/* Waits that a signal ends, by libc's functions and by number, and a thread that is cancelled in one. Prints a line
 * each. A wait that signals do not end is called so at the fiftieth of them. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *waiting;
static volatile int signals;
static const struct timespec hour = {3600, 0};
static int word;
static sem_t nobody_posts;

static void alarmed(int number) {
  (void)number;
  if (++signals < 50) return;
  dprintf(1, "%s goes on\n", waiting);
  _exit(1);
}

static long pauses(void) { return pause(); }
static long polls(void) { return poll(0, 0, -1); }
static long sleeps(void) { return nanosleep(&hour, 0); }
static long posts(void) { return sem_wait(&nobody_posts); }
static long reads(void) { char byte; int ends[2]; return pipe(ends) ? 0 : read(ends[0], &byte, 1); }
static long sleeps_by_number(void) { return syscall(SYS_nanosleep, &hour, 0); }
static long futex_by_number(void) { return syscall(SYS_futex, &word, 128 /* wait, private */, 0, 0, 0, 0); }

static void interrupted(const char *name, long (*wait)(void)) {
  struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
  waiting = name;
  signals = 0;
  setitimer(ITIMER_REAL, &often, 0);
  long result = wait();
  int error = errno;
  setitimer(ITIMER_REAL, &never, 0);
  dprintf(1, "%s: %s\n", name, result == -1 && error == EINTR ? "interrupted" : strerror(error));
}

static void *sleeper(void *unused) { sem_wait(&nobody_posts); return unused; }

static int is_cancelled(void) {
  struct timespec until;
  pthread_t thread;
  void *result = 0;
  pthread_create(&thread, 0, sleeper, 0);
  pthread_cancel(thread);
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 5;
  return pthread_timedjoin_np(thread, &result, &until) == 0 && result == PTHREAD_CANCELED;
}

int main(void) {
  struct sigaction action = {.sa_handler = alarmed};
  sigaction(SIGALRM, &action, 0);
  sem_init(&nobody_posts, 0, 0);
  interrupted("pause", pauses);
  interrupted("poll", polls);
  interrupted("nanosleep", sleeps);
  interrupted("sem_wait", posts);
  interrupted("read", reads);
  interrupted("nanosleep by number", sleeps_by_number);
  interrupted("futex by number", futex_by_number);
  dprintf(1, "pthread_cancel: %s\n", is_cancelled() ? "cancelled" : "goes on");
  return 0;
}
