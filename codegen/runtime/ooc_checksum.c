/* ooc_checksum.c - whether bytes arrived as they were sealed. SPEC.md says what is noticed, and why. */
#include "ooc.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ooc: the words of the storage image are little-endian, this core is not"
#endif
#endif

/* Where words must be aligned, compilers would take them byte by byte if nobody said that they are. */
#if defined(__GNUC__)
#define ALIGNED(address) ((const uint8_t *)__builtin_assume_aligned((address), 4))
#else
#define ALIGNED(address) (address)
#endif

#define START 0x9E3779B9u
#define BLOCK_BYTES 64u
#define WORD_BYTES 4u

static inline uint32_t word_of(const uint8_t *from) {
    uint32_t word;
    memcpy(&word, ALIGNED(from), sizeof word);
    return word;
}

static inline uint32_t add(uint32_t sum, uint32_t word) {
    sum ^= word;
    sum ^= sum << 11;
    return sum ^ sum >> 21;
}

/* Four words. Neighbours are loaded in pairs where nothing stands between their loads. */
static inline uint32_t add_four(uint32_t sum, const uint8_t *from) {
    uint32_t a = word_of(from), b = word_of(from + 4), c = word_of(from + 8), d = word_of(from + 12);
    OOC_BARRIER();
    return add(add(add(add(sum, a), b), c), d);
}

uint32_t ooc_checksum(const uint8_t *bytes, uint32_t count) {
    uint32_t sum = START, word = 0;
    const uint8_t *end = bytes + count - count % BLOCK_BYTES;
    for (; bytes != end; bytes += BLOCK_BYTES) {
        sum = add_four(sum, bytes);
        sum = add_four(sum, bytes + 16);
        sum = add_four(sum, bytes + 32);
        sum = add_four(sum, bytes + 48);
    }
    end = bytes + count % BLOCK_BYTES / WORD_BYTES * WORD_BYTES;
    for (; bytes != end; bytes += WORD_BYTES) {
        sum = add(sum, word_of(bytes));
    }
    count %= WORD_BYTES;
    for (end = bytes + count; bytes != end; end--) {
        word = word << 8 | end[-1];
    }
    return count != 0u ? add(sum, word) : sum;
}
