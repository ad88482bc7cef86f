/* semihost.h - files and console of the machine that runs the emulator (Arm IHI 0100 semihosting).
 *
 * Paths count from the directory where the emulator was started.
 */
#ifndef SEMIHOST_H
#define SEMIHOST_H

#include <stdint.h>

enum semihost_mode { SEMIHOST_READ = 1, SEMIHOST_UPDATE = 3, SEMIHOST_CREATE = 5 }; /* "rb", "r+b", "wb" */

/* A handle, or a negative number. */
int32_t semihost_open(const char *path, enum semihost_mode mode);
int32_t semihost_close(int32_t file);

/* Length in bytes, or a negative number. */
int32_t semihost_length(int32_t file);

/* 0 if all bytes from `offset` of the file on were moved, else another number. */
int32_t semihost_read(int32_t file, uint32_t offset, void *target, uint32_t bytes);
int32_t semihost_write(int32_t file, uint32_t offset, const void *source, uint32_t bytes);

/* The program's arguments in one line, its name first; "" if they do not fit. */
void semihost_command_line(char *text, uint32_t bytes);

/* End the emulation. */
void semihost_exit(int status) __attribute__((noreturn));

#endif
