/* mbedtls_config.h - what Mbed TLS is built with for a microcontroller: two ciphers, tables of AES in flash, and a
 * pool instead of a heap. -DMBEDTLS_CONFIG_FILE='"mbedtls_config.h"' */
#ifndef OOC_MBEDTLS_CONFIG_H
#define OOC_MBEDTLS_CONFIG_H

#define MBEDTLS_AES_C
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_CIPHER_C
#define MBEDTLS_GCM_C
#define MBEDTLS_CHACHA20_C
#define MBEDTLS_POLY1305_C
#define MBEDTLS_CHACHAPOLY_C
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY
#define MBEDTLS_PLATFORM_NO_STD_FUNCTIONS
#define MBEDTLS_MEMORY_BUFFER_ALLOC_C

/* Where the pool is found to be overwritten, nothing can be trusted. */
#define MBEDTLS_PLATFORM_EXIT_MACRO(code) \
    do { \
        (void)(code); \
    } while (1)

#endif
