/* crypto_mbedtls.h - seals and opens records with Mbed TLS (2.28 or 3).
 *
 *     static struct crypto_mbedtls vault;
 *     static struct ooc_crypto crypto;
 *     if (crypto_mbedtls_set(&crypto, &vault, OOC_CIPHER_AES_128_GCM, image_key, device_key) == 0)
 *         port.crypto = &crypto;
 *
 * Keys have 16 bytes for AES-128-GCM, 32 for ChaCha20-Poly1305. The image key is the one with which
 * ooc-solve sealed the image; the device key belongs to this device and this model alone. Both come from
 * where the chip keeps secrets.
 *
 * A vault holds all that Mbed TLS works with, but for what AES-128-GCM takes from mbedtls_calloc when keys are set.
 */
#ifndef CRYPTO_MBEDTLS_H
#define CRYPTO_MBEDTLS_H

#include "ooc_port.h"

#include <mbedtls/chachapoly.h>
#include <mbedtls/gcm.h>

#define CRYPTO_AES_KEY_BYTES 16u
#define CRYPTO_CHACHA_KEY_BYTES 32u

/* The contexts of one key, whichever its cipher. */
struct crypto_key {
    union {
        mbedtls_gcm_context gcm;
        mbedtls_chachapoly_context chacha;
    } with;
};

struct crypto_mbedtls {
    uint8_t cipher; /* enum ooc_cipher */
    struct crypto_key image;
    struct crypto_key device;
};

/* Bytes of a key of a cipher (enum ooc_cipher); 0 if there is no such cipher. */
uint32_t crypto_mbedtls_key_bytes(uint8_t cipher);

/* Take both keys, and fill in the functions. The vault must outlive their use. Returns 0, or the negative
 * number that Mbed TLS gave. */
int crypto_mbedtls_set(struct ooc_crypto *crypto, struct crypto_mbedtls *vault, uint8_t cipher,
                       const uint8_t *image_key, const uint8_t *device_key);

/* Likewise for programs on a PC and in an emulator, which have nowhere to keep a secret: the device key is the
 * image key with all bits turned. */
int crypto_mbedtls_emulate(struct ooc_crypto *crypto, struct crypto_mbedtls *vault, uint8_t cipher,
                           const uint8_t *image_key);

/* Wipe both keys. */
void crypto_mbedtls_clear(struct crypto_mbedtls *vault);

#endif
