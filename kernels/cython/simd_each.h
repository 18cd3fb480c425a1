/* Includes DL_IMPL for each dtype and instruction set: see simd.h.  DL_BYTES is the width of a register, DL_MR the rows
   of the register tile: DL_MR x 2 accumulators, two registers of B and one of A fit in 16 registers (32 with AVX-512).
 */
#define DL_ISA_SUFFIX base
#define DL_BYTES 16
#define DL_MR 4
#define DL_ISA_FLOAT64 1
#include "simd_dtypes.h"

#if DL_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define DL_ISA_SUFFIX avx2
#define DL_BYTES 32
#define DL_MR 6
#define DL_ISA_FLOAT64 1
#include "simd_dtypes.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#endif
#define DL_ISA_SUFFIX avx512
#define DL_BYTES 64
#define DL_MR 12
#define DL_ISA_FLOAT64 0 /* float64 is for checks rather than training: its AVX2 copy serves here too */
#include "simd_dtypes.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
