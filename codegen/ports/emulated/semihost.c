/* semihost.c - semihosting calls, and the printing that is built on them. */
#include "semihost.h"

#include "machine.h"

#define SYS_OPEN 0x01u
#define SYS_CLOSE 0x02u
#define SYS_WRITE0 0x04u
#define SYS_WRITE 0x05u
#define SYS_READ 0x06u
#define SYS_SEEK 0x0Au
#define SYS_FLEN 0x0Cu
#define SYS_GET_CMDLINE 0x15u
#define SYS_EXIT_EXTENDED 0x20u
#define STOPPED_APPLICATION_EXIT 0x20026u

static int32_t call(uint32_t operation, const void *argument) {
#if defined(__riscv)
    register uint32_t result __asm__("a0") = operation;
    register const void *block __asm__("a1") = argument;
    /* The three instructions mark the call; they must be uncompressed and in one page. */
    __asm__ volatile(".balign 16\n.option push\n.option norvc\n"
                     "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(result)
                     : "r"(block)
                     : "memory");
#else
    register uint32_t result __asm__("r0") = operation;
    register const void *block __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(result) : "r"(block) : "memory");
#endif
    return (int32_t)result;
}

static uint32_t word(const void *pointer) {
    return (uint32_t)(uintptr_t)pointer;
}

static uint32_t length_of(const char *text) {
    uint32_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    return length;
}

int32_t semihost_open(const char *path, enum semihost_mode mode) {
    const uint32_t block[3] = {word(path), (uint32_t)mode, length_of(path)};
    return call(SYS_OPEN, block);
}

int32_t semihost_close(int32_t file) {
    const uint32_t block[1] = {(uint32_t)file};
    return call(SYS_CLOSE, block);
}

int32_t semihost_length(int32_t file) {
    const uint32_t block[1] = {(uint32_t)file};
    return call(SYS_FLEN, block);
}

static int32_t seek(int32_t file, uint32_t offset) {
    const uint32_t block[2] = {(uint32_t)file, offset};
    return call(SYS_SEEK, block);
}

int32_t semihost_read(int32_t file, uint32_t offset, void *target, uint32_t bytes) {
    const uint32_t block[3] = {(uint32_t)file, word(target), bytes};
    return seek(file, offset) != 0 ? -1 : call(SYS_READ, block);
}

int32_t semihost_write(int32_t file, uint32_t offset, const void *source, uint32_t bytes) {
    const uint32_t block[3] = {(uint32_t)file, word(source), bytes};
    return seek(file, offset) != 0 ? -1 : call(SYS_WRITE, block);
}

void semihost_command_line(char *text, uint32_t bytes) {
    const uint32_t block[2] = {word(text), bytes};
    if (call(SYS_GET_CMDLINE, block) != 0) {
        text[0] = '\0';
    }
}

/* SYS_EXIT could only say 0 or 1 on a 32-bit machine. */
void semihost_exit(int status) {
    const uint32_t block[2] = {STOPPED_APPLICATION_EXIT, (uint32_t)status};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, block);
    }
}

/* ------------------------------------------------------------------------ printing */

void machine_print(const char *text) {
    (void)call(SYS_WRITE0, text);
}

void machine_print_value(int64_t value) {
    char text[21];
    unsigned at = sizeof text - 1;
    uint64_t rest = value < 0 ? 0u - (uint64_t)value : (uint64_t)value;
    text[at] = '\0';
    do {
        text[--at] = (char)('0' + (int)(rest % 10u));
        rest /= 10u;
    } while (rest != 0);
    if (value < 0) {
        text[--at] = '-';
    }
    machine_print(&text[at]);
}

void machine_print_number(const char *name, uint64_t value) {
    machine_print(name);
    machine_print(" ");
    machine_print_value((int64_t)value);
    machine_print("\n");
}

void machine_fail(const char *text, int status) {
    machine_print("ooc: ");
    machine_print(text);
    machine_print("\n");
    semihost_exit(status);
}
