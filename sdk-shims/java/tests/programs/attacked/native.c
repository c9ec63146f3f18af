/* Deeds of native code, for Within.java: each gives 1 where it was done. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jni.h>
#include <netinet/in.h>
#include <pthread.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEED(name) JNIEXPORT jboolean JNICALL Java_attacked_Within_##name(JNIEnv *environment, jclass type)

DEED(opened) {
  int descriptor = open("/tmp", O_RDONLY | O_DIRECTORY);
  if (descriptor >= 0) close(descriptor);
  return descriptor >= 0;
}

DEED(connected) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(0xcb007109)}};
  int descriptor = socket(AF_INET, SOCK_DGRAM, 0);
  int refused = connect(descriptor, (struct sockaddr *)&to, sizeof to) < 0 && errno == EACCES;
  close(descriptor);
  return !refused;
}

DEED(started) {
  char *words[] = {"/bin/true", NULL}, *none[] = {NULL};
  pid_t child;
  int status = 1;
  return posix_spawn(&child, words[0], NULL, NULL, words, none) == 0 && waitpid(child, &status, 0) == child && status == 0;
}

static void *open_it(void *result) {
  int descriptor = open("/tmp", O_RDONLY | O_DIRECTORY);
  if (descriptor >= 0) close(descriptor);
  *(jboolean *)result = descriptor >= 0;
  return NULL;
}

DEED(openedByThread) {
  jboolean done = 0;
  pthread_t thread;
  if (pthread_create(&thread, NULL, open_it, &done) != 0) return 0;
  pthread_join(thread, NULL);
  return done;
}
