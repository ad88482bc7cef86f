/* ooc_crc32.c - the checksum of records, as in zlib. */
#include "ooc.h"

#ifdef OOC_SMALL_CRC

uint32_t ooc_crc32(uint32_t crc, const uint8_t *data, uint32_t bytes) {
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu
    };
    uint32_t i;
    crc = ~crc;
    for (i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

#else

/* Four bytes per step: table k has the remainder of each byte with k zero bytes behind it. Remainders
 * add up bit by bit, so that eight of them make a table. */
#define BIT(n, k, value) ((n) >> (k) & 1u ? (value) : 0u)
#define SUM(n, a, b, c, d, e, f, g, h) \
    BIT(n, 0, a) ^ BIT(n, 1, b) ^ BIT(n, 2, c) ^ BIT(n, 3, d) ^ BIT(n, 4, e) ^ BIT(n, 5, f) ^ BIT(n, 6, g) ^ BIT(n, 7, h)
#define BEHIND0(n) \
    SUM(n, 0x77073096u, 0xEE0E612Cu, 0x076DC419u, 0x0EDB8832u, \
        0x1DB71064u, 0x3B6E20C8u, 0x76DC4190u, 0xEDB88320u)
#define BEHIND1(n) \
    SUM(n, 0x191B3141u, 0x32366282u, 0x646CC504u, 0xC8D98A08u, \
        0x4AC21251u, 0x958424A2u, 0xF0794F05u, 0x3B83984Bu)
#define BEHIND2(n) \
    SUM(n, 0x01C26A37u, 0x0384D46Eu, 0x0709A8DCu, 0x0E1351B8u, \
        0x1C26A370u, 0x384D46E0u, 0x709A8DC0u, 0xE1351B80u)
#define BEHIND3(n) \
    SUM(n, 0xB8BC6765u, 0xAA09C88Bu, 0x8F629757u, 0xC5B428EFu, \
        0x5019579Fu, 0xA032AF3Eu, 0x9B14583Du, 0xED59B63Bu)
#define FOUR(of, n) of(n), of((n) + 1u), of((n) + 2u), of((n) + 3u)
#define SIXTEEN(of, n) FOUR(of, n), FOUR(of, (n) + 4u), FOUR(of, (n) + 8u), FOUR(of, (n) + 12u)
#define SIXTY_FOUR(of, n) \
    SIXTEEN(of, n), SIXTEEN(of, (n) + 16u), SIXTEEN(of, (n) + 32u), SIXTEEN(of, (n) + 48u)
#define TABLE(of) {SIXTY_FOUR(of, 0u), SIXTY_FOUR(of, 64u), SIXTY_FOUR(of, 128u), SIXTY_FOUR(of, 192u)}

uint32_t ooc_crc32(uint32_t crc, const uint8_t *data, uint32_t bytes) {
    static const uint32_t table[4][256] = {TABLE(BEHIND0), TABLE(BEHIND1), TABLE(BEHIND2), TABLE(BEHIND3)};
    const uint8_t *end = data + (bytes & ~3u);
    crc = ~crc;
    for (; data != end; data += 4) {
        crc ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        crc = table[3][crc & 255u] ^ table[2][crc >> 8 & 255u] ^ table[1][crc >> 16 & 255u] ^ table[0][crc >> 24];
    }
    for (end += bytes & 3u; data != end; data++) {
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 255u];
    }
    return ~crc;
}

#endif
