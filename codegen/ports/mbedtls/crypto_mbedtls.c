/* crypto_mbedtls.c - seals and opens records with Mbed TLS. */
#include "crypto_mbedtls.h"

#include <mbedtls/platform_util.h>
#include <string.h>

#define KEY_BITS (CRYPTO_AES_KEY_BYTES * 8u)

uint32_t crypto_mbedtls_key_bytes(uint8_t cipher) {
    uint32_t bytes = 0;
    if (cipher == (uint8_t)OOC_CIPHER_AES_128_GCM) {
        bytes = CRYPTO_AES_KEY_BYTES;
    } else if (cipher == (uint8_t)OOC_CIPHER_CHACHA20_POLY1305) {
        bytes = CRYPTO_CHACHA_KEY_BYTES;
    }
    return bytes;
}

static struct crypto_key *key_for(struct crypto_mbedtls *vault, uint8_t use) {
    return use == (uint8_t)OOC_USE_IMAGE ? &vault->image : &vault->device;
}

static int is_gcm(const struct crypto_mbedtls *vault) {
    return vault->cipher == (uint8_t)OOC_CIPHER_AES_128_GCM;
}

static int seal(void *context, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data, uint32_t bytes,
                uint8_t tag[OOC_TAG_BYTES]) {
    struct crypto_mbedtls *vault = context;
    struct crypto_key *key = key_for(vault, use);
    if (is_gcm(vault)) {
        return mbedtls_gcm_crypt_and_tag(&key->with.gcm, MBEDTLS_GCM_ENCRYPT, bytes, nonce, OOC_NONCE_BYTES, NULL, 0,
                                         data, data, OOC_TAG_BYTES, tag);
    }
    return mbedtls_chachapoly_encrypt_and_tag(&key->with.chacha, bytes, nonce, NULL, 0, data, data, tag);
}

static int open(void *context, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data, uint32_t bytes,
                const uint8_t tag[OOC_TAG_BYTES]) {
    struct crypto_mbedtls *vault = context;
    struct crypto_key *key = key_for(vault, use);
    int result;
    if (is_gcm(vault)) {
        result = mbedtls_gcm_auth_decrypt(&key->with.gcm, bytes, nonce, OOC_NONCE_BYTES, NULL, 0, tag, OOC_TAG_BYTES,
                                          data, data);
        return result == MBEDTLS_ERR_GCM_AUTH_FAILED ? 1 : result;
    }
    result = mbedtls_chachapoly_auth_decrypt(&key->with.chacha, bytes, nonce, NULL, 0, tag, data, data);
    return result == MBEDTLS_ERR_CHACHAPOLY_AUTH_FAILED ? 1 : result;
}

static int set_key(struct crypto_key *key, uint8_t cipher, const uint8_t *bytes) {
    if (cipher == (uint8_t)OOC_CIPHER_AES_128_GCM) {
        mbedtls_gcm_init(&key->with.gcm);
        return mbedtls_gcm_setkey(&key->with.gcm, MBEDTLS_CIPHER_ID_AES, bytes, KEY_BITS);
    }
    mbedtls_chachapoly_init(&key->with.chacha);
    return mbedtls_chachapoly_setkey(&key->with.chacha, bytes);
}

int crypto_mbedtls_set(struct ooc_crypto *crypto, struct crypto_mbedtls *vault, uint8_t cipher,
                       const uint8_t *image_key, const uint8_t *device_key) {
    int result;
    memset(crypto, 0, sizeof *crypto);
    memset(vault, 0, sizeof *vault);
    if (crypto_mbedtls_key_bytes(cipher) == 0u) {
        return MBEDTLS_ERR_GCM_BAD_INPUT;
    }
    vault->cipher = cipher;
    result = set_key(&vault->image, cipher, image_key);
    if (result == 0) {
        result = set_key(&vault->device, cipher, device_key);
    }
    crypto->context = vault;
    crypto->cipher = cipher;
    crypto->seal = seal;
    crypto->open = open;
    return result;
}

int crypto_mbedtls_emulate(struct ooc_crypto *crypto, struct crypto_mbedtls *vault, uint8_t cipher,
                           const uint8_t *image_key) {
    uint8_t device_key[CRYPTO_CHACHA_KEY_BYTES];
    uint32_t bytes = crypto_mbedtls_key_bytes(cipher);
    uint32_t k;
    int result;
    for (k = 0; k < bytes; k++) {
        device_key[k] = (uint8_t)~image_key[k];
    }
    result = crypto_mbedtls_set(crypto, vault, cipher, image_key, device_key);
    mbedtls_platform_zeroize(device_key, sizeof device_key);
    return result;
}

static void clear_key(struct crypto_key *key, uint8_t cipher) {
    if (cipher == (uint8_t)OOC_CIPHER_AES_128_GCM) {
        mbedtls_gcm_free(&key->with.gcm);
    } else {
        mbedtls_chachapoly_free(&key->with.chacha);
    }
}

void crypto_mbedtls_clear(struct crypto_mbedtls *vault) {
    clear_key(&vault->image, vault->cipher);
    clear_key(&vault->device, vault->cipher);
    mbedtls_platform_zeroize(vault, sizeof *vault);
}
