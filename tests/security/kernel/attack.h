/* One attack: a name and a function that tries it. The function returns WORKED, the errno of the refusal, or ABSENT
   where this kernel does not have what the attack needs. Everything is a raw system call where libc would help. */
#ifndef ATTACK_H
#define ATTACK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKED = 0, ABSENT = -1, NOT_SEEN = 1000 };
/* What a case says about its control run, the one without the guard. */
enum kind {
    PLAIN,    /* must work without the guard and fail with it */
    RACE,     /* the same, by many tries */
    ON_GUARD, /* aims at the supervision itself: there is nothing to attack without it; must fail with it */
    STALL,    /* keeps an honest call waiting: neither without the guard nor with it */
};

struct attack {
    const char *name;
    int (*run)(void);
    enum kind kind;
};

extern const struct attack network[], sockets[], programs[], signals[], others[], floods[], races[], opens[], review[],
    review2[], review3[], stalls[], architecture[], memories[];
extern int tries;  /* of a race: ALL_TRIES in campaigns */
extern int pinned; /* to one processor */
extern int guarded;
extern const char *self; /* this program's path */

enum { ALL_TRIES = 20000 };
int share_of(int all); /* of what a campaign tries: a quarter in a short run */
#define TOP 64 /* a frame for tables */
#define FORBIDDEN 0x7f000002u
#define ALLOWED 0x7f000001u
#define OUTCOME(call) ((call) < 0 ? errno : WORKED)

struct sockaddr_in inet(uint32_t address, int port);
struct sockaddr_in6 mapped(uint32_t address, int port);
int receiver(int kind, uint32_t address, int *port); /* a bound socket; a stream also listens */
int arrived(int fd, int kind);                       /* WORKED if a datagram or a connection came */
int in_child(int (*run)(void));                      /* the outcome of a function in a forked child */
int ran(pid_t child);                                /* WORKED if the child became the marked program */
double now(void);
void pin(int processor);
int be_a_chain(void), be_unread(void); /* the same of programs that were swapped in (review3.c) */
int beat(void); /* what the marked program does to show how long it runs, in memory that it finds at a descriptor */
enum { BEAT = 109 };
struct beat { volatile int ready, flag; volatile double first, last; };
#endif
