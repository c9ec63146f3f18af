@ A program for 32-bit ARM, without a library: sends a byte to 127.0.0.2, to the port in its argument. Ends with 42 where
@ that went, with 43 where it did not.
.syntax unified
.arch armv7-a
.text
.global _start
_start:
    ldr r1, [sp, #8]            @ argv[1]
    mov r0, #0
digit:
    ldrb r2, [r1], #1
    cmp r2, #0
    beq parsed
    sub r2, r2, #'0'
    mov r3, #10
    mla r0, r3, r0, r2
    b digit
parsed:
    rev16 r0, r0                @ to network order
    ldr r4, =address
    strh r0, [r4, #2]
    mov r0, #2                  @ socket(AF_INET, SOCK_DGRAM, 0)
    mov r1, #2
    mov r2, #0
    ldr r7, =281
    svc #0
    mov r1, r4                  @ sendto(fd, address, 1, 0, address, 16)
    mov r2, #1
    mov r3, #0
    mov r5, #16
    ldr r7, =290
    svc #0
    cmp r0, #1
    moveq r0, #42
    movne r0, #43
    mov r7, #1                  @ exit
    svc #0
.data
.balign 4
address:
    .short 2, 0
    .byte 127, 0, 0, 2
    .space 8
