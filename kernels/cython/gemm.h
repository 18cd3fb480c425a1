/* C = act(A B + bias), or C += A B: matrix product with any strides of A and B.  A (m x k), B (k x n), C (m x n) by
   rows.

   B is packed once, in parallel, into panels of NR = 2 registers of columns, k block by k block.  C is cut into blocks
   of rows and columns, each one job that goes through all of k (gemm_block.h), so that a block of C is written by one
   thread and stays in its cache.  The tile adds the bias, or C, and applies ReLU; sigmoid and tanh run over the
   finished block. Few blocks and a long k (weight gradients) split k into chunks with a partial C each, summed in the
   order of the chunks. Up to 4 rows of A (small batches) read B unpacked: dot products where its columns are
   contiguous, else row by row. All cuts depend on the shape alone, never on the number of threads, so the bits do not
   either.

   Source: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"; BLIS for the packed layout.
 */
#ifndef DLFAST_GEMM_H
#define DLFAST_GEMM_H
#include "gemm_block.h"
#include "products.h"

#define DL_GEMM_NC 512
#define DL_GEMM_JOBS 16              /* blocks wanted, as long as each is worth DL_GEMM_JOB_WORK */
#define DL_GEMM_JOB_WORK 1000000.0   /* multiplications in a block: some 20 us */
#define DL_GEMM_SERIAL_WORK 250000.0 /* below this, 5 us, no other thread is woken */
#define DL_PACK_PANELS 8
#define DL_SKINNY 64

typedef struct {
    const dl_gemm *g;
    dl_operands o;
    long mc, nc, row_blocks, col_blocks, chunks, k_chunk;
    char *packed, *partial;
} dl_plan;

#define DL_IMPL "gemm_impl.h"
#include "simd.h"

static const dl_job dl_gemm_pack_jobs[2][DL_ISAS] = DL_TABLE(gemm_pack_job);
static const dl_job dl_gemm_block_jobs[2][DL_ISAS] = DL_TABLE(gemm_block_job);
static const dl_job dl_gemm_sum_jobs[2][DL_ISAS] = DL_TABLE(gemm_sum_job);
static const dl_job dl_gemm_dots_jobs[2][DL_ISAS] = DL_TABLE(gemm_dots_job);
static const dl_job dl_gemm_axpys_jobs[2][DL_ISAS] = DL_TABLE(gemm_axpys_job);

/* Halve the longer side until there are enough blocks or they get too small; then split k if there are still too few.
 */
static void dl_plan_blocks(dl_plan *p, const dl_gemm *g, long mr, long nr) {
    long rows = dl_ceil_div(g->m, DL_GEMM_MC), cols = dl_ceil_div(g->n, DL_GEMM_NC);
    for (;;) {
        p->mc = dl_round_up(dl_ceil_div(g->m, rows), mr);
        p->nc = dl_round_up(dl_ceil_div(g->n, cols), nr);
        p->row_blocks = dl_ceil_div(g->m, p->mc);
        p->col_blocks = dl_ceil_div(g->n, p->nc);
        const long blocks = p->row_blocks * p->col_blocks;
        if (blocks >= DL_GEMM_JOBS || (double)p->mc * p->nc * g->k < 2 * DL_GEMM_JOB_WORK) break;
        if (p->mc <= 2 * mr && p->nc <= 2 * nr) break;
        if (p->nc > p->mc && p->nc > 2 * nr)
            cols *= 2;
        else if (p->mc > 2 * mr)
            rows *= 2;
        else
            cols *= 2;
    }
    const long blocks = p->row_blocks * p->col_blocks, k_blocks = dl_ceil_div(g->k, p->o.kc);
    p->chunks = blocks < DL_GEMM_JOBS / 2 ? dl_max(1, dl_min(DL_GEMM_JOBS / blocks, k_blocks / 4)) : 1;
    const long blocks_each = dl_max(1, dl_ceil_div(k_blocks, p->chunks));
    p->k_chunk = blocks_each * p->o.kc;
    p->chunks = dl_max(1, dl_ceil_div(k_blocks, blocks_each));
}

static int dl_gemm_skinny(const dl_gemm *g, int serial) {
    dl_plan plan = {.g = g};
    const int dots = g->brs == 1 && g->acs == 1;
    if (!dots && g->bcs != 1) return 0;
    dl_launch(DL_PICK(dots ? dl_gemm_dots_jobs : dl_gemm_axpys_jobs, g->dtype), &plan, dl_ceil_div(g->n, DL_SKINNY),
              serial);
    return 1;
}

/* Returns 0, or -1 when there is no memory for the packed panels. */
static int dl_gemm_serve(const dl_gemm *g) {
    if (!g->m || !g->n) return 0;
    const int serial = (double)g->m * g->n * g->k < DL_GEMM_SERIAL_WORK;
    if (g->m <= 4 && dl_gemm_skinny(g, serial)) return 0;
    const long mr = dl_tile_rows(g->dtype), nr = dl_tile_cols(g->dtype);
    const size_t item = dl_item(g->dtype);
    dl_plan p = {.g = g};
    p.o = (dl_operands){.k = g->k,
                        .kc = dl_gemm_kc(g->k),
                        .ars = g->ars,
                        .acs = g->acs,
                        .npad = dl_round_up(g->n, nr),
                        .activation = g->activation};
    dl_plan_blocks(&p, g, mr, nr);
    p.o.finish = p.chunks == 1;
    const int plain = g->bcs == 1 && g->n == p.o.npad && g->m <= 4 * mr; /* too few rows to repay the packing */
    const size_t packed = plain ? 0 : dl_round_up(item * p.o.npad * g->k, 64), bias = item * p.o.npad;
    const size_t partial = p.chunks > 1 ? item * p.chunks * g->m * g->n : 0;
    p.packed = (char *)dl_scratch(DL_SCRATCH_SHARED, packed + bias + partial + 64);
    if (!p.packed) return -1;
    p.partial = p.packed + packed + dl_round_up(bias, 64);
    p.o.bias = p.chunks == 1 && !g->accumulate ? dl_pad_bias(g->bias, g->n, p.o.npad, item, p.packed + packed) : NULL;
    p.o.b = plain ? g->b : p.packed;
    p.o.ldb = plain ? g->brs : 0;
    if (!plain) {
        const long groups = dl_ceil_div(p.o.npad / nr, DL_PACK_PANELS);
        dl_launch(DL_PICK(dl_gemm_pack_jobs, g->dtype), &p, groups * dl_ceil_div(g->k, p.o.kc), serial);
    }
    dl_launch(DL_PICK(dl_gemm_block_jobs, g->dtype), &p, p.chunks * p.row_blocks * p.col_blocks, serial);
    if (p.chunks > 1) dl_launch(DL_PICK(dl_gemm_sum_jobs, g->dtype), &p, g->m, serial);
    return 0;
}
#endif
