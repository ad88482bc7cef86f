/* string.h - the part of the C library that the runtime and the emulated machines use, for compilers
 * that come without one. Only such machines have this folder on their include path.
 */
#ifndef OOC_FREESTANDING_STRING_H
#define OOC_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *target, const void *source, size_t bytes);
void *memset(void *target, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);
size_t strspn(const char *text, const char *accepted);
size_t strcspn(const char *text, const char *rejected);

#endif
