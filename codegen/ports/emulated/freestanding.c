/* freestanding.c - the part of the C library that the runtime and the emulated machines use.
 *
 * Compile with -fno-tree-loop-distribute-patterns: compilers turn such loops into calls of the
 * very functions defined here.
 */
#include "string.h"

#include <stdint.h>

/* Words where both sides are aligned, bytes for the rest. Reading other types as words is what a C
 * library may do; the attribute tells the compiler. */
typedef uint32_t __attribute__((may_alias)) word;

void *memcpy(void *target, const void *source, size_t bytes) {
    uint8_t *to = target;
    const uint8_t *from = source;
    if ((((uintptr_t)to | (uintptr_t)from) & 3u) == 0) {
        for (; bytes >= 4; bytes -= 4, to += 4, from += 4) {
            *(word *)(void *)to = *(const word *)(const void *)from;
        }
    }
    while (bytes-- > 0) {
        *to++ = *from++;
    }
    return target;
}

void *memset(void *target, int value, size_t bytes) {
    uint8_t *to = target;
    word filling = (uint8_t)value * 0x01010101u;
    if (((uintptr_t)to & 3u) == 0) {
        for (; bytes >= 4; bytes -= 4, to += 4) {
            *(word *)(void *)to = filling;
        }
    }
    while (bytes-- > 0) {
        *to++ = (uint8_t)value;
    }
    return target;
}

int memcmp(const void *a, const void *b, size_t bytes) {
    const uint8_t *left = a, *right = b;
    for (; bytes > 0; bytes--, left++, right++) {
        if (*left != *right) {
            return *left < *right ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    return length;
}

int strcmp(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

static int contains(const char *set, char wanted) {
    while (*set != '\0' && *set != wanted) {
        set++;
    }
    return *set != '\0';
}

size_t strspn(const char *text, const char *accepted) {
    size_t length = 0;
    while (text[length] != '\0' && contains(accepted, text[length])) {
        length++;
    }
    return length;
}

size_t strcspn(const char *text, const char *rejected) {
    size_t length = 0;
    while (text[length] != '\0' && !contains(rejected, text[length])) {
        length++;
    }
    return length;
}
