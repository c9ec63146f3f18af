/* Native code that an attacker plants: when it is loaded, it says so with system calls of its own. */
static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

__attribute__((constructor)) static void loaded(void)
{
    static const char path[] = "/tmp/planted", text[] = "pwned";
    long file = call(2, (long)path, 01101, 0644);
    call(1, file, (long)text, 5);
    call(3, file, 0, 0);
}
