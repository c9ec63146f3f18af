/* What the start and end of a child cost: CPU time in microseconds, the least mean of twenty batches of thirty. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

int main(void) {
  char *const arguments[] = {"true", 0}, *const environment[] = {"PATH=/usr/bin", 0};
  double least = 1e9;
  for (int batch = 0; batch < 20; batch++) {
    double before = cpu();
    for (int run = 0; run < 30; run++) {
      pid_t pid = vfork();
      if (pid == 0) {
        execve("/usr/bin/true", arguments, environment);
        _exit(1);
      }
      int status;
      waitpid(pid, &status, 0);
      if (status != 0) return 1;
    }
    double mean = (cpu() - before) / 30;
    if (mean < least) least = mean;
  }
  printf("%.0f\n", least);
  return 0;
}
