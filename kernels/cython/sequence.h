/* A recurrent layer over whole sequences: the time loop, forward and backward.

   Each step is

       forward   z (rows x G Hd) = x W_ih^T + h_before W_hh^T     and the arithmetic of the gates
       backward  the gates' gradients dz                           and  dh_before (rows x Hd) = dz W_hh

   Afterwards products (gemm.h) make the gradients of the weights, and of x unless the loop did so beside dh, from the dz
   of all rows.  The weights are packed once a call, in panels that a register tile walks along: forward a register of
   hidden units of all gates side by side, so that the gates of a unit are ready at the same time; backward two registers
   of units.  With few sequences a step would read W_ih for little work: then one product makes the input's part of all
   steps before the loop, in `gates`.

   The sequences of a batch do not depend on each other: each job takes some of them through all steps, and the threads
   never meet.  Few sequences, or weights that are larger than a core's cache, are cut by units instead, in each step.
   Each number is summed in one order whoever computes it, so the bits do not depend on the cut.  Rows and steps:
   kernels/sequences.py.

   Sources: Elman 1990; Gers et al. 2000; Cho et al. 2014, with r applied after the product as in cuDNN and PyTorch. */
#ifndef DLFAST_SEQUENCE_H
#define DLFAST_SEQUENCE_H
#include "threads.h"
#include "simd.h"

enum { DL_SEQUENCE_RNN, DL_SEQUENCE_RELU, DL_SEQUENCE_LSTM, DL_SEQUENCE_GRU };

#define DL_SEQUENCE_STEP_WORK 400000.0 /* multiplications of a step from which cutting it by units pays for the launches */
#define DL_SEQUENCE_PACK_SERIAL 50000.0 /* numbers to be packed below which no other thread is woken */
#define DL_SEQUENCE_ROWS 8 /* sequences from which on the loop multiplies x too */
#define DL_SEQUENCE_JOIN 131072 /* numbers of W_ih and W_hh up to which the way back makes dx too: they fit in L2 */
#define DL_SEQUENCE_SHARE 16 /* times DL_SEQUENCE_STEP_WORK from which it pays where the weights do not fit in L2 */
#define DL_SEQUENCE_JOBS 16 /* into which copying x and the states is cut */
#define DL_SEQUENCE_SERIAL 100000.0 /* multiplications of a call below which no other thread is woken */

/* An operand of the tile: `depth` columns of rows lda apart. */
typedef struct {
    const void *a;
    long depth, lda;
} dl_part;

typedef struct {
    int dtype, kind, reverse;
    long steps, batch, hidden, stride;
    long features;               /* of x (R, I), or 0: forward, the loop multiplies it, else `gates` holds its part;
                                    backward, the loop makes dx */
    const void *x, *weight_ih;
    const int64_t *offset, *count; /* of each step */
    const int64_t *cut;            /* job j takes the states cut[j] .. cut[j + 1] */
    long jobs;
    /* Arrays of rows: y (Hd), gates (G Hd), extra: the LSTM's cells or the GRU's W_hn h + b_hn (Hd). */
    void *y, *gates, *extra;
    const void *bias, *inner_bias; /* of all gates (G Hd), for x; of the GRU's W_hn h (Hd), or NULL */
    const void *h0, *c0;         /* (B, Hd): what the states begin with, in the order of the steps */
    /* Backward: dy rows (Hd), dz rows; dh, dc (B, Hd): the gradients of the last states, then of the first ones. The
       GRU's dz has 4 Hd columns: dn, dr, dz, r dn, so that either side of the cell finds its three in one piece. */
    const void *dy;
    void *dz, *dh, *dc, *dx;
    void *beside;       /* (R, I + Hd): x and the state before of each row, for the gradients of the weights */
    const void *weight; /* W_hh (G Hd, Hd) */
    char *packed;       /* its panels */
    long step, first, width; /* of a step that is cut by units: units in a job */
} dl_sequence;

DL_UNUSED static long dl_sequence_gates(int kind) { return kind == DL_SEQUENCE_LSTM ? 4 : kind == DL_SEQUENCE_GRU ? 3 : 1; }
/* Columns of dz, in Hd. */
DL_UNUSED static long dl_sequence_dz(int kind) { return dl_sequence_gates(kind) == 1 ? 1 : 4; }

/* The step that is taken at a turn of the forward pass. */
DL_UNUSED static long dl_sequence_at(const dl_sequence *s, long turn) {
    return s->reverse ? s->steps - 1 - turn : turn;
}

#define DL_IMPL "vmath.h"
#include "simd.h"
#define DL_IMPL "row_tile.h"
#include "simd.h"
#define DL_IMPL "sequence_tile.h"
#include "simd.h"
#define DL_IMPL "sequence_impl.h"
#include "simd.h"
static const dl_job dl_sequence_pack_jobs[2][DL_ISAS] = DL_TABLE(sequence_pack_job);
static const dl_job dl_sequence_unpack_jobs[2][DL_ISAS] = DL_TABLE(sequence_pack_back_job);
static const dl_job dl_sequence_forward_jobs[2][DL_ISAS] = DL_TABLE(sequence_forward_job);
static const dl_job dl_sequence_backward_jobs[2][DL_ISAS] = DL_TABLE(sequence_backward_job);
static const dl_job dl_sequence_units_jobs[2][DL_ISAS] = DL_TABLE(sequence_units_job);
static const dl_job dl_sequence_back_units_jobs[2][DL_ISAS] = DL_TABLE(sequence_back_units_job);
static const dl_job dl_sequence_beside_jobs[2][DL_ISAS] = DL_TABLE(sequence_beside_job);
static void (*const dl_sequence_gates_back[2][DL_ISAS])(const dl_sequence *, long, long, long, long, long) =
    DL_TABLE(sequence_gates_back);

/* Units that a panel covers: of W_hh^T forward, of W_hh backward. */
static long dl_sequence_forward_panel(const dl_sequence *s) {
    return dl_lanes(s->dtype) * (dl_sequence_gates(s->kind) == 1 ? 2 : 1);
}
static long dl_sequence_backward_panel(const dl_sequence *s) { return 2 * dl_lanes(s->dtype); }

/* Whether steps are cut by units: enough work in each step, and few sequences or weights of `packed` numbers that only
   the threads' second-level caches together can hold. */
static int dl_sequence_by_units(const dl_sequence *s, long threads, double packed) {
    const double work = s->batch * packed;
    if (threads < 2 || work < DL_SEQUENCE_STEP_WORK) return 0;
    return s->batch < threads ||
           (packed * dl_item(s->dtype) > dl_cache.l2 && work >= DL_SEQUENCE_SHARE * DL_SEQUENCE_STEP_WORK);
}

/* Jobs in parallel, or here where they are too little work. */
DL_CHECKED static int dl_sequence_run(dl_sequence *s, const dl_job *jobs, long count, int here) {
    return here ? dl_run_here(jobs[dl_isa], s, count) : dl_parallel_for(jobs[dl_isa], s, count);
}

/* The panels of the weights: 0, or -1 when there is no memory, as all that follow. */
DL_CHECKED static int dl_sequence_pack(dl_sequence *s, long panels, long panel, long numbers, const dl_job *jobs) {
    s->width = panel;
    s->packed = (char *)dl_scratch(DL_SCRATCH_SHARED, (size_t)panels * numbers * dl_item(s->dtype) + 64);
    if (!s->packed) return -1;
    return dl_sequence_run(s, jobs, panels, (double)panels * numbers < DL_SEQUENCE_PACK_SERIAL);
}

DL_CHECKED static int dl_sequence_forward(dl_sequence *s, long threads) {
    const long panel = dl_sequence_forward_panel(s), gates = dl_sequence_gates(s->kind);
    const long panels = dl_ceil_div(s->hidden, panel);
    const long numbers = (s->features + s->hidden) * (gates == 1 ? 2 : gates) * dl_lanes(s->dtype);
    if (dl_sequence_pack(s, panels, panel, numbers, dl_sequence_pack_jobs[s->dtype])) return -1;
    if (!dl_sequence_by_units(s, threads, (double)panels * numbers))
        return dl_sequence_run(s, dl_sequence_forward_jobs[s->dtype], s->jobs, s->jobs == 1);
    const long each = dl_ceil_div(panels, threads);
    s->width = each * panel;
    for (s->step = 0; s->step < s->steps; s->step++)
        if (dl_sequence_run(s, dl_sequence_units_jobs[s->dtype], dl_ceil_div(panels, each), 0)) return -1;
    return 0;
}

DL_CHECKED static int dl_sequence_backward(dl_sequence *s, long threads) {
    const long panel = dl_sequence_backward_panel(s), numbers = dl_sequence_gates(s->kind) * s->hidden * panel;
    const long panels = dl_ceil_div(s->hidden + s->features, panel);
    if (dl_sequence_pack(s, panels, panel, numbers, dl_sequence_unpack_jobs[s->dtype])) return -1;
    if (!dl_sequence_by_units(s, threads, (double)panels * numbers))
        return dl_sequence_run(s, dl_sequence_backward_jobs[s->dtype], s->jobs, s->jobs == 1);
    const long each = dl_ceil_div(panels, threads);
    s->width = each * panel;
    DL_PICK(dl_sequence_gates_back, s->dtype)(s, dl_sequence_at(s, s->steps - 1), 0, s->batch, 0, s->hidden);
    for (s->step = s->steps - 1; s->step >= 0; s->step--)
        if (dl_sequence_run(s, dl_sequence_back_units_jobs[s->dtype], dl_ceil_div(panels, each), 0)) return -1;
    return 0;
}

/* Fills `beside` from x, y and h0. */
DL_CHECKED static int dl_sequence_join(dl_sequence *s) {
    const double numbers = (double)s->batch * s->steps * (s->features + s->hidden);
    s->width = dl_ceil_div(s->steps, DL_SEQUENCE_JOBS);
    return dl_sequence_run(s, dl_sequence_beside_jobs[s->dtype], dl_ceil_div(s->steps, s->width), numbers < DL_SEQUENCE_PACK_SERIAL);
}
#endif
