/* The first step of the backward of linear and conv2d, in one pass: dz = dy act'(y) and dbias = sum over rows of dz.

   Rows are summed in blocks of 64, blocks within a chunk, chunks in order: the error grows with the number of levels,
   not of rows, and the chunks depend on the shape alone.  Rows too short for a register are taken several at once, and
   their sums added at the end. */
#ifndef DLFAST_ROWS_H
#define DLFAST_ROWS_H
#include "product/gemm_block.h"
#include "product/products.h"

#define DL_ROWS_BLOCK 64
#define DL_ROWS_CHUNKS 64
#define DL_ROWS_SERIAL 20000 /* elements: some 5 us */

#define DL_IMPL "rowwise/rows.inc.h"
#include "simd/simd.h"
static const dl_job dl_rows_jobs[2][DL_ISAS] = DL_TABLE(rows_job);
static void (*const dl_rows_totals[2][DL_ISAS])(const dl_rows *, long) = DL_TABLE(rows_total);

/* Returns 0, or -1 when there is no memory. */
static int dl_rows_serve(dl_rows *r) {
    r->chunk = dl_round_up(dl_max(1, dl_ceil_div(r->rows, DL_ROWS_CHUNKS)), DL_ROWS_BLOCK);
    const long chunks = dl_ceil_div(r->rows, r->chunk), lanes = dl_lanes(r->dtype);
    const size_t wide = r->cols < lanes ? r->cols * lanes : r->cols;
    r->partial = r->dbias ? (char *)dl_scratch(DL_SCRATCH_SHARED, (chunks + 1) * 2 * wide * dl_item(r->dtype)) : NULL;
    if (r->dbias && !r->partial) return -1;
    if (dl_launch(DL_PICK(dl_rows_jobs, r->dtype), r, chunks, r->rows * r->cols < DL_ROWS_SERIAL)) return -1;
    if (r->dbias) DL_PICK(dl_rows_totals, r->dtype)(r, chunks);
    return 0;
}
#endif
