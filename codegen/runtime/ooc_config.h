/* ooc_config.h - the switches of the runtime, all in one place.
 *
 * Define them on the compiler's command line or uncomment them here.
 *
 * OOC_NO_MESSAGES      ooc_message() returns "" and its texts are left out
 *                      (saves about 0.6 KiB of code memory).
 * OOC_NO_RECORD_CHECK  weights are used without comparing their checksum
 *                      (saves one instruction per byte loaded on a Cortex-M3).
 * OOC_ONE_STREAM       all models have one stream: the core transfers by itself
 *                      (saves some 35 instructions per command).
 * OOC_ONE_BANK         all models have one bank of SRAM (saves some 15 instructions per command).
 * OOC_NO_TAIL_CHECK    reads that end early without a word from the port are not noticed
 *                      (saves some 30 instructions per transfer).
 * OOC_NO_TABLE_CHECK   ooc_open() trusts the tables without walking through them
 *                      (saves ooc_check.c and a start-up time proportional to the
 *                      number of commands).
 * OOC_SEAL             all models have sealed records: ooc_seal.c, and members of structs. Emitted
 *                      tables need it or refuse it: plans count the state as large as it is.
 * OOC_ENGINE           besides, an engine opens and seals them beside the CPU: the tables have a stream for it.
 *                      Emitted tables need it.
 * OOC_RING             all models have a scratch region that takes turns at the places of a ring: ooc_ring.c,
 *                      and members of structs. Emitted tables need it or refuse it, likewise.
 * OOC_PACKED           models may have weights of four bits: ooc_unpack.c, and a member of structs.
 *                      Emitted tables say when they need it, and the emitted Makefile defines it then.
 * OOC_ANNEX            models may have a second image, on a store of its own or on that of the
 *                      activations. Emitted tables say when they need it, and the emitted
 *                      Makefile defines it then.
 * OOC_MATRICES         models may multiply two activations: the kernels of OOC_MATMUL. Emitted tables say when
 *                      they need it, and the emitted Makefile defines it then.
 * OOC_KINDS            bit set of the kernels to compile, bit number = enum ooc_kind.
 *                      A stage of another kind is refused by ooc_open().
 * OOC_FLOATS           compile the kernels of float32 tensors too. Emitted tables say when they
 *                      need it, and the emitted Makefile defines it then.
 * OOC_PLAIN            kernels in C alone, even where the compiler offers the chip's
 *                      DSP (SMLAD) or vector (Helium, MVE) instructions.
 * OOC_BARRIER()        where an interrupt calls ooc_advance(): memory accesses in the program
 *                      before it stay before it, those behind it behind. Known for
 *                      compilers that understand GNU C; nothing elsewhere.
 * OOC_INTEGER_SCALING  1: sums are rescaled by integer products, 0: by float
 *                      operations; otherwise whichever the chip has in hardware.
 *
 * All these variants of the kernels give the same bytes.
 *
 * Floating point. All kernels are exact: every float operation is rounded to float
 * once, and no product is fused with a sum but where additions ask for it (in double). Results are equal byte for byte between
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
/* #define OOC_ONE_STREAM */
/* #define OOC_ONE_BANK */
/* #define OOC_NO_TAIL_CHECK */
/* #define OOC_NO_TABLE_CHECK */
/* #define OOC_FLOATS */
/* #define OOC_PACKED */
/* #define OOC_MATRICES */
/* #define OOC_PLAIN */

#ifndef OOC_KINDS
#ifdef OOC_MATRICES
#define OOC_KINDS 0x3FFFu /* all kinds, and OOC_TRANSPOSED */
#else
#define OOC_KINDS 0x2FFFu /* but OOC_MATMUL */
#endif
#endif

#if defined(OOC_SEAL) && defined(OOC_NO_RECORD_CHECK)
#error "ooc: sealed records must be opened; compile without OOC_NO_RECORD_CHECK"
#endif

#if defined(OOC_ENGINE) && !defined(OOC_SEAL)
#error "ooc: an engine works on sealed records; define OOC_SEAL too"
#endif

#if defined(__FAST_MATH__)
#error "ooc: -ffast-math changes results; compile the runtime without it"
#endif

#ifndef OOC_BARRIER
#ifdef __GNUC__
#define OOC_BARRIER() __asm__ volatile("" ::: "memory")
#else
#define OOC_BARRIER() ((void)0)
#endif
#endif

/* Instructions beyond C. Vectors come with the DSP instructions. */
#if !defined(OOC_PLAIN) && defined(__ARM_FEATURE_MVE)
#if (__ARM_FEATURE_MVE & 3) == 3
#define OOC_MVE
#endif
#endif
#if !defined(OOC_PLAIN) && !defined(OOC_MVE) && defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) \
    && defined(__GNUC__)
#define OOC_DSP
#endif
#if !defined(OOC_PLAIN) && !defined(OOC_MVE) && !defined(OOC_DSP) && defined(__thumb2__) && defined(__GNUC__) \
    && defined(__OPTIMIZE__)
#define OOC_THUMB2 /* those that load two words */
#endif

/* Does the chip multiply floats by itself? Where nobody says so, integers are the safe side. */
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__riscv_flen)
#define OOC_HARD_FLOAT
#elif defined(__ARM_FP) && !defined(__SOFTFP__)
#if __ARM_FP & 4
#define OOC_HARD_FLOAT
#endif
#endif

#if !defined(OOC_INTEGER_SCALING)
#if defined(OOC_HARD_FLOAT)
#define OOC_INTEGER_SCALING 0
#else
#define OOC_INTEGER_SCALING 1
#endif
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
