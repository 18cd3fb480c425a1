/* A block of a matrix product on one thread, from packed panels: what gemm.h and conv.h are made of.

   The block goes through k in blocks of kc, in each along the panels of B, and down the tiles of up to mc rows of A
   (simd_sizes.h): one panel stays in L1 while those rows stay in L2; the next panel is on its way.  Rows of A
   that are contiguous in k are read where they lie; other layouts, and all rows if the caller asks for it, are packed
   first.  An activation but ReLU, which the tile applies, runs over each panel of C before it leaves L1.  Source: Goto and van de Geijn 2008, "Anatomy of
   high-performance matrix multiplication", section 4. */
#ifndef DLFAST_GEMM_BLOCK_H
#define DLFAST_GEMM_BLOCK_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_PACK_PANELS 8 /* packed together */
#define DL_PACK_ROWS 8   /* rows ahead that packing asks for */
#if !DL_VECTORS
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
enum { DL_IDENTITY, DL_RELU, DL_SIGMOID, DL_TANH, DL_GELU, DL_GELU_TANH, DL_SILU };

/* A by its strides; B packed (ldb 0, npad columns in whole panels) or plain (rows ldb apart that may be read to the end
   of the last panel); bias or NULL. */
typedef struct {
    long k, kc, ars, acs, ldb, npad;
    const void *b, *bias;
    int activation, finish; /* finish: the last k block ends the sum, so the activation applies to it */
    int pack_a;             /* pack rows of A that are contiguous in k as well */
    long mpad, row;         /* mpad not 0: A is packed like B, mpad rows in all, of which the block begins at `row` */
    long bn, brs, bcs;      /* bn not 0: b is the matrix itself, bn columns; each panel is packed when its turn comes */
} dl_operands;

#define DL_IMPL "simd/vmath.inc.h"
#include "simd/simd.h"
#define DL_IMPL "product/gemm_tile.inc.h"
#include "simd/simd.h"
#define DL_IMPL "product/gemm_block.inc.h"
#include "simd/simd.h"

/* Equal k blocks of at most `most`; several are whole registers long, which transposes them without a rest. */
DL_UNUSED static long dl_gemm_kc(long k, long most) {
    const long blocks = dl_ceil_div(k, most);
    return blocks <= 1 ? dl_max(k, 1) : dl_round_up(dl_ceil_div(k, blocks), 16);
}

/* bias with npad entries, so that a tile may load past n. */
DL_UNUSED static const void *dl_pad_bias(const void *bias, long n, long npad, size_t item, char *room) {
    if (!bias || n == npad) return bias;
    memcpy(room, bias, n * item);
    memset(room + n * item, 0, (npad - n) * item);
    return room;
}

/* Jobs in parallel, or here if they are too little work for a launch.  Returns 0, or -1 when they lacked memory. */
DL_UNUSED DL_CHECKED static int dl_launch(dl_job fn, void *ctx, long jobs, int serial) {
    return serial ? dl_run_here(fn, ctx, jobs) : dl_parallel_for(fn, ctx, jobs);
}
#endif
