/* ooc_config.h - the switches of the runtime, all in one place.
 *
 * Define them on the compiler's command line or uncomment them here.
 *
 * OOC_NO_MESSAGES      ooc_message() returns "" and its texts are left out
 *                      (saves about 0.6 KiB of code memory).
 * OOC_NO_RECORD_CHECK  weights are used without comparing their CRC-32
 *                      (saves two table look-ups per byte loaded).
 * OOC_NO_TABLE_CHECK   ooc_open() trusts the tables without walking through them
 *                      (saves ooc_check.c and a start-up time proportional to the
 *                      number of commands).
 * OOC_KINDS            bit set of the kernels to compile, bit number = enum ooc_kind.
 *                      A stage of another kind is refused by ooc_open().
 *
 * Floating point. All kernels are exact: every float operation is rounded to float
 * once, and no product is fused with a sum. Results are equal byte for byte between
 * all compilers and chips that obey IEEE 754. -ffast-math is refused. Compile with
 * -std=c99 (or -ffp-contract=off): GCC in its GNU modes fuses products and sums on
 * chips with FMA, and then this file makes float intermediates volatile, which is as
 * exact but slower. OOC_FP_CONTRACT_OFF says that contraction is off by other means.
 */
#ifndef OOC_CONFIG_H
#define OOC_CONFIG_H

#include <float.h>

/* #define OOC_NO_MESSAGES */
/* #define OOC_NO_RECORD_CHECK */
/* #define OOC_NO_TABLE_CHECK */

#ifndef OOC_KINDS
#define OOC_KINDS 0x07FFu /* all kinds up to OOC_PERMUTE */
#endif

#if defined(__FAST_MATH__)
#error "ooc: -ffast-math changes results; compile the runtime without it"
#endif

/* The type of a float intermediate: volatile where a compiler would keep more bits
 * than a float has (x87) or fuse it with the next operation. */
#if !defined(FLT_EVAL_METHOD)
#define OOC_FLOAT volatile float
#elif FLT_EVAL_METHOD != 0
#define OOC_FLOAT volatile float
#elif defined(__GNUC__) && !defined(__clang__) && !defined(__STRICT_ANSI__) && defined(__FP_FAST_FMAF) \
    && !defined(OOC_FP_CONTRACT_OFF)
#define OOC_FLOAT volatile float
#else
#define OOC_FLOAT float
#endif

#endif
