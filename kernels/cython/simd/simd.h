/* One source for every dtype and instruction set.

       #define DL_IMPL "pool/pool.inc.h"
       #include "simd/simd.h"

   includes pool.inc.h once for float32 and float64 on each instruction set of the processor family, under the
   compiler's target pragma.  Inside, `real` is the element, `vec` a register of LANES elements, `ivec` one of integers
   of that width, and DL_FN(name) the name with its suffix (name_f32_avx2).  DL_TABLE(name) lists the copies; DL_PICK
   takes the one for a dtype (0 float32, 1 float64) on this processor.  DLFAST_ISA = base | avx2 | avx512 asks for less
   than the best.

   `base` is what the compiler targets anyway: SSE2 on x86-64, NEON on AArch64.  A compiler without GNU vector
   extensions gets one-lane "vectors": plain scalar code from the same source. */
#ifndef DLFAST_SIMD_H
#define DLFAST_SIMD_H
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/caches.h"

#define DL_CAT_(a, b) a##_##b
#define DL_CAT(a, b) DL_CAT_(a, b)
#define DL_FN(name) DL_CAT(name, DL_SUFFIX)

#if defined(__GNUC__) || defined(__clang__)
#define DL_VECTORS 1
#define DL_R restrict
#define DL_INLINE static inline __attribute__((always_inline, unused))
#define DL_UNUSED __attribute__((unused))
#define DL_CHECKED __attribute__((warn_unused_result))
#define DL_NOINLINE \
    static __attribute__((noinline, unused)) /* edges: called seldom, and code is large in many copies */
#else
#define DL_VECTORS 0
#define DL_R __restrict
#define DL_INLINE static __forceinline
#define DL_UNUSED
#define DL_CHECKED
#define DL_NOINLINE static
#endif

#if defined(__GNUC__) || defined(__clang__)
#define DL_PREFETCH(p) __builtin_prefetch(p)
#else
#define DL_PREFETCH(p) ((void)(p))
#endif

/* DL_UNROLL: before a loop over registers that must not become a loop over memory.  DL_UNROLL_4: before the inner loop
   of a product, of which counting takes a share where two threads have one core. */
#if defined(__clang__)
#define DL_UNROLL _Pragma("unroll")
#define DL_UNROLL_4 _Pragma("unroll 4")
#elif defined(__GNUC__)
#define DL_UNROLL _Pragma("GCC unroll 16")
#define DL_UNROLL_4 _Pragma("GCC unroll 4")
#else
#define DL_UNROLL
#define DL_UNROLL_4
#endif

#if DL_VECTORS && defined(__x86_64__)
#define DL_X86 1
#include <immintrin.h>
#ifdef DL_ONLY_AVX2 /* a third of the compilation, while kernels are worked on: no other copies */
#define DL_TABLE(name)                                                                                             \
    {                                                                                                              \
        {name##_f32_avx2, name##_f32_avx2, name##_f32_avx2}, { name##_f64_avx2, name##_f64_avx2, name##_f64_avx2 } \
    }
#else
#define DL_TABLE(name)                                                                                               \
    {                                                                                                                \
        {name##_f32_base, name##_f32_avx2, name##_f32_avx512}, { name##_f64_base, name##_f64_avx2, name##_f64_avx512 } \
    }
#endif
#else
#define DL_X86 0
#define DL_TABLE(name)                                                                                             \
    {                                                                                                              \
        {name##_f32_base, name##_f32_base, name##_f32_base}, { name##_f64_base, name##_f64_base, name##_f64_base } \
    }
#endif
#define DL_PICK(table, dtype) ((table)[dtype][dl_isa])
#define DL_ISAS 3

enum { DL_BASE, DL_AVX2, DL_AVX512 };
static int dl_isa = DL_BASE; /* of the module that includes this: set at import, and by set_isa in tests */
DL_UNUSED static const char *dl_isa_name(int isa) {
    static const char *const names[DL_ISAS] = {"base", "avx2", "avx512"};
    return names[isa];
}

/* The best that this processor has; it has those before it too. */
DL_UNUSED static int dl_best_isa(void) {
#if DL_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return DL_BASE;
#ifdef DL_EMULATE_AVX512
    return DL_AVX512;
#endif
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        return DL_AVX512;
    return DL_AVX2;
#else
    return DL_BASE;
#endif
}

/* Uses that of this name, where the processor has it, and else the best; says whether it has. */
DL_UNUSED static int dl_set_isa(const char *name) {
    const int best = dl_best_isa();
    for (dl_isa = DL_BASE; dl_isa < best; dl_isa++)
        if (name && !strcmp(name, dl_isa_name(dl_isa))) return 1;
    return name && !strcmp(name, dl_isa_name(best));
}

#include "simd/simd_sizes.h"
static dl_cache_sizes dl_cache;

/* Called once when a module is imported. */
DL_UNUSED static void dl_choose_isa(void) {
    dl_cache = dl_read_caches();
    dl_set_isa(getenv("DLFAST_ISA"));
}

/* What vstream has stored is there before what follows. */
DL_UNUSED static void dl_fence(void) {
#if DL_X86
    __builtin_ia32_sfence();
#endif
}

DL_UNUSED static long dl_min(long a, long b) { return a < b ? a : b; }
DL_UNUSED static long dl_max(long a, long b) { return a > b ? a : b; }
DL_UNUSED static long dl_ceil_div(long a, long b) { return (a + b - 1) / b; }
DL_UNUSED static long dl_round_up(long a, long b) { return dl_ceil_div(a, b) * b; }

/* Whether to write an array of so many bytes past the caches: it takes more than a `share`-th of the last one, too much
   to be found there by its reader, and its rows, of `row` bytes each, start at whole cache lines. */
DL_UNUSED static int dl_streams(const void *p, size_t bytes, size_t row, size_t share) {
    return DL_X86 && bytes >= dl_cache.last / share && (uintptr_t)p % 64 == 0 && row % 64 == 0;
}

/* The vector types come first, whatever the first DL_IMPL is. */
#pragma push_macro("DL_IMPL")
#undef DL_IMPL
#define DL_IMPL "simd/simd_types.inc.h"
#include "simd/simd_each.h"
#undef DL_IMPL
#define DL_IMPL "simd/simd_transpose.inc.h"
#include "simd/simd_each.h"
#undef DL_IMPL
#pragma pop_macro("DL_IMPL")
#endif

#ifdef DL_IMPL
#include "simd/simd_each.h"
#undef DL_IMPL
#endif
