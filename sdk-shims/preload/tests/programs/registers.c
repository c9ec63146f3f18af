/* Fills every register that the kernel keeps across a system call, calls libc, and compares. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct image {
    uint64_t general[6];
    unsigned char vector[16][32];
    uint64_t flags;
} before, after;

/* The call's own arguments, so that they are valid and compared too. */
static void across(void *function) {
    __asm__ volatile(
        "mov %[fn], %%r11\n"
        "vmovdqu 48(%[b]), %%ymm0\n vmovdqu 80(%[b]), %%ymm1\n vmovdqu 112(%[b]), %%ymm2\n vmovdqu 144(%[b]), %%ymm3\n"
        "vmovdqu 176(%[b]), %%ymm4\n vmovdqu 208(%[b]), %%ymm5\n vmovdqu 240(%[b]), %%ymm6\n vmovdqu 272(%[b]), %%ymm7\n"
        "vmovdqu 304(%[b]), %%ymm8\n vmovdqu 336(%[b]), %%ymm9\n vmovdqu 368(%[b]), %%ymm10\n vmovdqu 400(%[b]), %%ymm11\n"
        "vmovdqu 432(%[b]), %%ymm12\n vmovdqu 464(%[b]), %%ymm13\n vmovdqu 496(%[b]), %%ymm14\n vmovdqu 528(%[b]), %%ymm15\n"
        "mov 0(%[b]), %%rdi\n mov 8(%[b]), %%rsi\n mov 16(%[b]), %%rdx\n mov 24(%[b]), %%r10\n mov 32(%[b]), %%r8\n mov 40(%[b]), %%r9\n"
        "call *%%r11\n"
        "mov %%rdi, 0(%[a])\n mov %%rsi, 8(%[a])\n mov %%rdx, 16(%[a])\n mov %%r10, 24(%[a])\n mov %%r8, 32(%[a])\n mov %%r9, 40(%[a])\n"
        "vmovdqu %%ymm0, 48(%[a])\n vmovdqu %%ymm1, 80(%[a])\n vmovdqu %%ymm2, 112(%[a])\n vmovdqu %%ymm3, 144(%[a])\n"
        "vmovdqu %%ymm4, 176(%[a])\n vmovdqu %%ymm5, 208(%[a])\n vmovdqu %%ymm6, 240(%[a])\n vmovdqu %%ymm7, 272(%[a])\n"
        "vmovdqu %%ymm8, 304(%[a])\n vmovdqu %%ymm9, 336(%[a])\n vmovdqu %%ymm10, 368(%[a])\n vmovdqu %%ymm11, 400(%[a])\n"
        "vmovdqu %%ymm12, 432(%[a])\n vmovdqu %%ymm13, 464(%[a])\n vmovdqu %%ymm14, 496(%[a])\n vmovdqu %%ymm15, 528(%[a])\n"
        "vzeroupper\n"
        :
        : [fn] "r"(function), [b] "b"(&before), [a] "r"(({ register struct image *r12 __asm__("r12") = &after; r12; }))
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
}

static int check(const char *name, void *function, uint64_t a, uint64_t b, uint64_t c) {
    memset(&after, 0, sizeof after);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 32; j++) before.vector[i][j] = (unsigned char)(i * 7 + j * 13 + a);
    before.general[0] = a; before.general[1] = b; before.general[2] = c;
    before.general[3] = 0x1010101010101010; before.general[4] = 0x0808080808080808; before.general[5] = 0x0909090909090909;
    across(function);
    int same = !memcmp(before.general, after.general, sizeof before.general) && !memcmp(before.vector, after.vector, sizeof before.vector);
    printf("%s %s\n", name, same ? "kept" : "CHANGED");
    return same;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int socket_ = socket(AF_INET, SOCK_DGRAM, 0), one = dup(2);
    check("close", close, (uint64_t)one, 2, 3);
    check("connect", connect, (uint64_t)socket_, (uint64_t)&address, sizeof address);
    check("dup2", dup2, 2, 77, 5);
    check("unlink", unlink, (uint64_t)"/tmp/ringfence-nothing", 1, 2);
    return 0;
}
