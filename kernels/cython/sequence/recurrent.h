/* The gates of LSTM and GRU cells, forward and backward: one pass over the pre-activations that the matrix products
   left. Formulas as in the reference; B batch, Hd hidden size; gates in the order i f g o, or r z n. */
#ifndef DLFAST_RECURRENT_H
#define DLFAST_RECURRENT_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_CELL_JOB 2048 /* units in a job, some 5 us */

typedef struct {
    long batch, hidden, rows;
    const void *c, *dy, *dy2; /* c: the LSTM's cell, or the GRU's h */
    void *gates, *extra, *dz, *dz2, *out, *out2;
} dl_cell;

#define DL_IMPL "simd/vmath.inc.h"
#include "simd/simd.h"
#define DL_IMPL "sequence/recurrent.inc.h"
#include "simd/simd.h"
enum { DL_LSTM_FORWARD, DL_LSTM_BACKWARD, DL_GRU_FORWARD, DL_GRU_BACKWARD };
static const dl_job dl_cells[4][2][DL_ISAS] = {DL_TABLE(lstm_forward_job), DL_TABLE(lstm_backward_job),
                                               DL_TABLE(gru_forward_job), DL_TABLE(gru_backward_job)};

static void dl_cell_run(dl_cell *m, int pass, int dtype) {
    m->rows = dl_max(1, DL_CELL_JOB / dl_max(m->hidden, 1));
    dl_parallel_for(DL_PICK(dl_cells[pass], dtype), m, dl_ceil_div(m->batch, m->rows));
}
#endif
