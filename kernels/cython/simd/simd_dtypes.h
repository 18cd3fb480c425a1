/* Includes DL_IMPL for float32 and float64 with one instruction set: see simd.h. */
#define vec DL_FN(vec)
#define ivec DL_FN(ivec)
#define uvec DL_FN(uvec)
#define vmask DL_FN(vmask)

#define DL_SUFFIX DL_CAT(f32, DL_ISA_SUFFIX)
#define DL_DOUBLE 0
#if DL_VECTORS
#define LANES (DL_BYTES / 4)
#else
#define LANES 1
#endif
#define real float
#define ireal int32_t
#define PS ps
#define EPI epi32
#include DL_IMPL
#undef DL_SUFFIX
#undef DL_DOUBLE
#undef LANES
#undef real
#undef ireal
#undef PS
#undef EPI

#define DL_SUFFIX DL_CAT(f64, DL_ISA_SUFFIX)
#define DL_DOUBLE 1
#if DL_VECTORS
#define LANES (DL_BYTES / 8)
#else
#define LANES 1
#endif
#define real double
#define ireal int64_t
#define PS pd
#define EPI epi64
#include DL_IMPL
#undef DL_SUFFIX
#undef DL_DOUBLE
#undef LANES
#undef real
#undef ireal
#undef PS
#undef EPI

#undef vec
#undef ivec
#undef uvec
#undef vmask
#undef DL_ISA_SUFFIX
#undef DL_BYTES
#undef DL_ISA
