/* Includes DL_IMPL for each dtype and instruction set: see simd.h.  DL_BYTES is the width of a register, DL_ISA that of
   the instructions which a copy is written in (simd_types.inc.h).

   DL_EMULATE_AVX512 (for tests on processors without it) compiles the AVX-512 copy for AVX2, as vectors of 64 bytes that
   the compiler splits: the same tiles, masks and ends of rows, not the same instructions.  DL_ONLY_AVX2 compiles no other
   copy, a third of the work, while a kernel is written. */
#ifndef DL_ONLY_AVX2
#define DL_ISA_SUFFIX base
#define DL_BYTES 16
#define DL_ISA (DL_X86 ? 128 : 0)
#include "simd/simd_dtypes.h"
#endif

#if DL_X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define DL_ISA_SUFFIX avx2
#define DL_BYTES 32
#define DL_ISA 256
#include "simd/simd_dtypes.h"

#ifndef DL_ONLY_AVX2
#define DL_ISA_SUFFIX avx512
#define DL_BYTES 64
#ifdef DL_EMULATE_AVX512
#define DL_ISA 0
#else
#define DL_ISA 512
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#endif
#endif
#include "simd/simd_dtypes.h"
#endif
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
