/* C = act(A B + bias), or C += A B: matrix product with any strides of A and B.  A (m x k), B (k x n), C (m x n) by
   rows.

   C is cut into blocks of rows and columns, each one job that goes through all of k (gemm_block.h), so that a block of
   C is written by one thread and stays in its cache. What several jobs need is packed once before them, in parallel, k
   block by k block: A into panels of DL_MR rows, B into panels of NR = 2 registers of columns. With few rows each
   column of B belongs to one job, which packs it panel by panel on its way: where the rows of B are contiguous, the
   first tile of a panel does so, from the registers that it multiplies with. With few columns each job packs its own
   rows of A, or reads them where they lie. The tile adds the bias, or C, and applies ReLU; other activations run
   over each finished panel. Where k is much the longest side (weight gradients) it is cut into chunks with a partial C each,
   summed in the order of the chunks. Where one operand has so few rows that packing the other does not pay (batches of
   1 to 32), see gemm_skinny.inc.h. All cuts depend on the shape alone, never on the number of threads, so the bits do
   not either.

   Source: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"; BLIS for the packed layout.
 */
#ifndef DLFAST_GEMM_H
#define DLFAST_GEMM_H
#include "product/gemm_block.h"
#include "product/products.h"

#define DL_GEMM_NC 1024
#define DL_GEMM_JOBS 16              /* blocks wanted, as long as each is worth DL_GEMM_JOB_WORK; twice if large */
#define DL_GEMM_JOB_WORK 250000.0    /* multiplications in a block: some 5 us */
#define DL_GEMM_LARGE_WORK 32e6      /* a large block */
#define DL_GEMM_SERIAL_WORK 250000.0 /* below this, 5 us, no other thread is woken */
#define DL_FEW_PANELS 16             /* of B: they do not repay the packing of A before the jobs */
#define DL_SHARED_A 0.6              /* of the last cache, up to which A is packed before; a larger one by each job, for its rows */
#define DL_DOTS_ROWS 32              /* rows of A for which dot products beat packing B, */
#define DL_DOTS_SHARE 12             /* as long as each is this times longer than there are rows */
#define DL_COMBINE_ROWS 8            /* rows of A for which sums of rows of B beat packing them */
#define DL_COMBINE_BLOCK 2048        /* rows of B in one sum */
#define DL_OUTER 8                   /* rows of B for which outer products beat packing */
#define DL_DOTS_BLOCK 256            /* registers of k in one sum */
#define DL_SKINNY_SERIAL 60000.0     /* numbers read or written with few rows: below this, 5 us, likewise */
#define DL_DOTS_COLS 32              /* columns of C, or multiplications, in a job */
#define DL_COMBINE_COLS 256
#define DL_OUTER_WORK 32768

typedef struct {
    const dl_gemm *g;
    dl_operands o;
    long mc, nc, row_blocks, col_blocks, chunks, k_chunk;
    char *packed, *packed_a, *partial;
} dl_plan;

/* An operand to be packed: element (i, k) is at i stride_i + k stride_k; i < size, k in blocks of kc. */
typedef struct {
    const void *from;
    void *to;
    long size, stride_i, k, stride_k, width, kc;
} dl_packing;

static long dl_packing_jobs(const dl_packing *p) {
    return dl_ceil_div(p->size, DL_PACK_PANELS * p->width) * dl_ceil_div(p->k, p->kc);
}

/* Where part number `part` of a side begins, cut between tiles into parts as equal as can be. */
static long dl_cut(long part, long parts, long side, long tile) {
    return dl_min(side, dl_ceil_div(side, tile) * part / parts * tile);
}

#define DL_IMPL "product/gemm.inc.h"
#include "simd/simd.h"
#define DL_IMPL "product/gemm_skinny.inc.h"
#include "simd/simd.h"

static const dl_job dl_gemm_pack_jobs[2][DL_ISAS] = DL_TABLE(gemm_pack_job);
static const dl_job dl_gemm_block_jobs[2][DL_ISAS] = DL_TABLE(gemm_block_job);
static const dl_job dl_gemm_sum_jobs[2][DL_ISAS] = DL_TABLE(gemm_sum_job);
static const dl_job dl_gemm_dots_jobs[2][DL_ISAS] = DL_TABLE(gemm_dots_job);
static const dl_job dl_gemm_combine_jobs[2][DL_ISAS] = DL_TABLE(gemm_combine_job);
static const dl_job dl_gemm_outer_jobs[2][DL_ISAS] = DL_TABLE(gemm_outer_job);

/* Cuts C into blocks, and k into chunks, by halving the longest side until there are enough jobs or they get small.
   A chunk of k costs a pass over C, so k counts as an eighth of its length; as a 32nd where B comes packed and more
   blocks pack nothing twice.  Jobs that read A itself get as few rows as
   stay in L2 even a multiple of 4 kB apart; those that pack a transposed A, some whole cache lines of each of its k. */
static void dl_plan_blocks(dl_plan *p, const dl_gemm *g, long mr, long nr, int packed) {
    const long mc = dl_sizes_for(g->dtype)->mc;
    const int own_a = g->m > mc && g->n <= DL_FEW_PANELS * nr, packs_a = own_a && g->acs != 1;
    const long wish = own_a ? (packs_a ? 16 : 8) * mr : LONG_MAX; /* rows of a block, if it is about them */
    const long k_blocks = dl_max(1, dl_ceil_div(g->k, p->o.kc));
    long rows = dl_ceil_div(g->m, mc), cols = dl_ceil_div(g->n, DL_GEMM_NC), chunks = 1;
    for (;;) {
        p->mc = dl_round_up(dl_ceil_div(g->m, rows), mr);
        p->nc = dl_round_up(dl_ceil_div(g->n, cols), nr);
        p->row_blocks = dl_min(rows, dl_ceil_div(g->m, mr));
        p->col_blocks = dl_min(cols, dl_ceil_div(g->n, nr));
        const long blocks_each = dl_ceil_div(k_blocks, chunks);
        p->k_chunk = blocks_each * p->o.kc;
        p->chunks = dl_ceil_div(k_blocks, blocks_each);
        const double work = (double)p->mc * p->nc * dl_min(p->k_chunk, g->k);
        const long jobs = DL_GEMM_JOBS * (packs_a ? 0.5 : work < DL_GEMM_LARGE_WORK ? 1 : 2);
        if (work < 2 * DL_GEMM_JOB_WORK || p->row_blocks * p->col_blocks * p->chunks >= jobs) return;
        if (blocks_each > 1 && p->k_chunk >= (packed ? 32 : 8) * dl_max(p->mc, p->nc))
            chunks *= 2;
        else if (p->mc > wish)
            rows *= 2;
        else if (p->nc > 2 * nr && (p->nc > 2 * p->mc || p->row_blocks == 1))
            cols *= 2;
        else if (p->mc > 2 * mr)
            rows *= 2;
        else if (p->nc > 2 * nr)
            cols *= 2;
        else
            return;
    }
}

/* How a product is done: in blocks, or with few rows of A, or of B (outer products), where memory sets the pace and not
   the multiplications. */
enum { DL_GEMM_BLOCKS, DL_GEMM_DOTS, DL_GEMM_COMBINE, DL_GEMM_OUTER };

static int dl_gemm_path(const dl_gemm *g) {
    const long dots = dl_max(4, dl_min(DL_DOTS_ROWS, g->k / DL_DOTS_SHARE));
    if (g->m <= dots && g->brs == 1 && g->acs == 1) return DL_GEMM_DOTS;
    if (!g->k || g->bcs != 1) return DL_GEMM_BLOCKS;
    if (g->m <= DL_COMBINE_ROWS) return DL_GEMM_COMBINE;
    return g->k > DL_OUTER || g->bias || g->accumulate || g->activation ? DL_GEMM_BLOCKS : DL_GEMM_OUTER;
}

/* Few rows: 1 if it is done, with what dl_gemm_serve returns in *status. */
static int dl_gemm_skinny(const dl_gemm *g, int little_work, int *status) {
    dl_plan p = {.g = g};
    const int serial = little_work && (double)g->n * dl_max(g->m, g->k) < DL_SKINNY_SERIAL;
    switch (dl_gemm_path(g)) {
    case DL_GEMM_DOTS:
        *status = dl_launch(DL_PICK(dl_gemm_dots_jobs, g->dtype), &p, dl_ceil_div(g->n, DL_DOTS_COLS), serial);
        return 1;
    case DL_GEMM_COMBINE:
        *status = dl_launch(DL_PICK(dl_gemm_combine_jobs, g->dtype), &p, dl_ceil_div(g->n, DL_COMBINE_COLS), serial);
        return 1;
    case DL_GEMM_OUTER:
        p.mc = dl_max(2, DL_OUTER_WORK / (g->n * g->k));
        *status = dl_launch(DL_PICK(dl_gemm_outer_jobs, g->dtype), &p, dl_ceil_div(g->m, p.mc), serial);
        return 1;
    }
    return 0;
}

/* The product with B packed before (dl_gemm_pack), or with `panels` NULL.  Returns 0, or -1 when there is no memory for
   packed panels. */
static int dl_gemm_with(const dl_gemm *g, const void *panels) {
    if (!g->m || !g->n) return 0;
    const int serial = (double)g->m * g->n * g->k < DL_GEMM_SERIAL_WORK;
    int status;
    if (!panels && dl_gemm_skinny(g, serial, &status)) return status;
    const long mr = dl_tile_rows(g->dtype), nr = dl_tile_cols(g->dtype);
    const size_t item = dl_item(g->dtype);
    dl_plan p = {.g = g};
    p.o = (dl_operands){.k = g->k,
                        .kc = dl_gemm_kc(g->k, dl_sizes_for(g->dtype)->long_kc),
                        .ars = g->ars,
                        .acs = g->acs,
                        .npad = dl_round_up(g->n, nr),
                        .activation = g->activation};
    dl_plan_blocks(&p, g, mr, nr, panels != NULL);
    p.o.finish = p.chunks == 1;
    const int few = p.row_blocks == 1;          /* each column of B is met by one job, which packs it */
    const int packs_b = !few && !panels;
    /* Rows a multiple of 4 kB apart compete for the same places in the caches: with many columns, packing A pays. */
    p.o.pack_a = g->acs != 1 || p.nc > DL_FEW_PANELS * nr;
    if (p.o.pack_a && (few || g->n > DL_FEW_PANELS * nr) && (double)g->m * g->k * item <= DL_SHARED_A * dl_cache.last)
        p.o.mpad = dl_round_up(g->m, mr);
    const size_t packed = packs_b ? dl_round_up(item * p.o.npad * g->k, 64) : 0;
    const size_t packed_a = dl_round_up(item * p.o.mpad * g->k, 64);
    const size_t partial = p.chunks > 1 ? item * p.chunks * g->m * g->n : 0;
    p.packed = (char *)dl_scratch(DL_SCRATCH_SHARED, packed + packed_a + partial + 64);
    if (!p.packed) return -1;
    p.packed_a = p.packed + packed;
    p.partial = p.packed_a + packed_a;
    p.o.bias = p.chunks == 1 && !g->accumulate ? g->bias : NULL;
    p.o.b = panels ? panels : few ? g->b : p.packed;
    if (few && !panels) p.o.bn = g->n, p.o.brs = g->brs, p.o.bcs = g->bcs;
    dl_packing pack[2] = {{g->a, p.packed_a, p.o.mpad ? g->m : 0, g->ars, g->k, g->acs, mr, p.o.kc},
                          {g->b, p.packed, packs_b ? g->n : 0, g->bcs, g->k, g->brs, nr, p.o.kc}};
    const long packings = dl_packing_jobs(pack) + dl_packing_jobs(pack + 1);
    if (dl_launch(DL_PICK(dl_gemm_pack_jobs, g->dtype), pack, packings, serial) ||
        dl_launch(DL_PICK(dl_gemm_block_jobs, g->dtype), &p, p.chunks * p.row_blocks * p.col_blocks, serial))
        return -1;
    return p.chunks > 1 ? dl_launch(DL_PICK(dl_gemm_sum_jobs, g->dtype), &p, g->m, serial) : 0;
}
static int dl_gemm_serve(const dl_gemm *g) { return dl_gemm_with(g, NULL); }

/* B as the panels that blocks read, for many products with it: k rows of as many columns as whole panels have. */
static int dl_gemm_pack(const dl_gemm *g, void *to) {
    const dl_packing pack[2] = {
        {g->b, to, g->n, g->bcs, g->k, g->brs, dl_tile_cols(g->dtype), dl_gemm_kc(g->k, dl_sizes_for(g->dtype)->long_kc)}};
    return dl_launch(DL_PICK(dl_gemm_pack_jobs, g->dtype), (void *)pack, dl_packing_jobs(pack), 0);
}
#endif
