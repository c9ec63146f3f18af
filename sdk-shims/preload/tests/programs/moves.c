/* Opens free/file until it is remembered, has its folder moved by the process that the argument names, and opens it
   under its new name. Prints who moved it and whether it could be opened. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int count, char **arguments) {
    const char *who = count > 1 ? arguments[1] : "";
    char *mv[] = {"mv", "free", "kept/moved", 0};
    pid_t child = 0;
    for (int i = 0; i < 6; i++) close(open("free/file", O_RDONLY));
    if (!strcmp(who, "itself")) rename("free", "kept/moved");
    if (!strcmp(who, "fork") && (child = fork()) == 0) _exit(rename("free", "kept/moved"));
    if (!strcmp(who, "vfork") && (child = vfork()) == 0) { execv("/bin/mv", mv); _exit(1); }
    if (!strcmp(who, "spawn")) posix_spawn(&child, "/bin/mv", 0, 0, mv, environ);
    if (child > 0) waitpid(child, 0, 0);
    /* Of a path that is opened for the first time the name is always asked for. */
    int file = -1;
    for (int i = 0; i < 4 && file < 0; i++) file = open("kept/moved/file", O_RDONLY);
    printf("%s %d\n", who, file >= 0 ? 0 : errno);
    return 0;
}
