/* Recurrent layers over whole sequences: the time loops, forward and backward.

   Each step of a loop, one direction of one layer, is

       forward   z (rows x G Hd) = x W_ih^T + h_before W_hh^T     and the arithmetic of the gates
       backward  the gates' gradients dz                           and  dh_before (rows x Hd) = dz W_hh

   Afterwards products (gemm.h) make the gradients of the weights, and of x unless the loop did so beside dh, from the
   dz of all rows. The weights are packed once a call, in panels that a register tile walks along: forward a register
   of hidden units of all gates side by side, so that the gates of a unit are ready at the same time; backward two
   registers of units. With few sequences a step would read W_ih for little work: then one product makes the input's
   part of all steps before the loop, in `gates`.

   The sequences of a batch do not depend on each other, and neither do the two directions of a layer: each job takes
   some sequences of one direction through all steps, and the threads never meet. Where the way back makes dx, a
   direction first takes the half of the steps that it comes to first, which is not the half of the other one; then it
   adds to what the other has left in its second half. The layers of a stack whose batch is one, with weights that are
   not too large, run beside each other too: layer l takes some steps, the input's part in tiles whose rows are steps,
   while layer l + 1 takes those before (a wavefront). Few sequences, or weights that are larger than a core's cache,
   are cut by units instead, in each step. Each number is summed in one order whoever computes it, so the bits do not
   depend on the cut. Rows and steps: kernels/sequences.py.

   Sources: Elman 1990; Gers et al. 2000; Cho et al. 2014, with r applied after the product as in cuDNN and PyTorch;
   Appleyard et al. 2016, "Optimizing performance of recurrent neural networks on GPUs", section 3.4 for the
   wavefront. */
#ifndef DLFAST_SEQUENCE_H
#define DLFAST_SEQUENCE_H
#include "runtime/threads.h"
#include "simd/simd.h"

enum { DL_SEQUENCE_RNN, DL_SEQUENCE_RELU, DL_SEQUENCE_LSTM, DL_SEQUENCE_GRU };

#define DL_SEQUENCE_STEP_WORK 400000.0 /* multiplications of a step from which cutting it by units pays */
#define DL_SEQUENCE_PACK_SERIAL 50000.0 /* numbers to be packed below which no other thread is woken */
#define DL_SEQUENCE_ROWS 8 /* sequences from which on the loop multiplies x too */
#define DL_SEQUENCE_JOIN 131072 /* numbers of W_ih and W_hh up to which the way back makes dx too: they fit in L2 */
#define DL_SEQUENCE_SHARE 16 /* times DL_SEQUENCE_STEP_WORK from which it pays where the weights do not fit in L2 */
#define DL_SEQUENCE_JOBS 16 /* into which copying x and the states is cut */
#define DL_SEQUENCE_SERIAL 100000.0 /* multiplications of a call below which no other thread is woken */
#define DL_SEQUENCE_TURNS 16 /* steps that a layer of a wavefront takes at a time */
#define DL_SEQUENCE_STACK 262144 /* numbers of W_hh up to which there is a wavefront: beyond, L2 does not hold them, and
                                    cutting each step by units is faster (LSTM 512: 1.2 times on 2 threads) */

/* An operand of the tile: `depth` columns of rows lda apart. */
typedef struct {
    const void *a;
    long depth, lda;
} dl_part;

/* One direction of one layer. */
typedef struct {
    int dtype, kind, reverse;
    int within;                    /* each step multiplies x, or makes dx; else `gates` holds the input's part */
    int adds;                      /* dx is added to what the other direction has left there */
    long steps, batch, hidden, stride, rows;
    long features;                 /* of x (R, I) where a job multiplies it or makes dx, else 0 */
    long ld;                       /* from a row of y to the next */
    const void *x, *weight_ih;
    const int64_t *offset, *count; /* of each step */
    /* Arrays of rows: y (Hd of ld), gates (G Hd), extra: the LSTM's cells or the GRU's W_hn h + b_hn (Hd). */
    void *y, *gates, *extra;
    const void *bias, *inner_bias; /* of all gates (G Hd), for x; of the GRU's W_hn h (Hd), or NULL */
    const void *h0, *c0;           /* (B, Hd): what the states begin with, in the order of the steps */
    /* Backward: dy like y; dz rows; dh, dc (B, Hd): the gradients of the last states, then of the first ones. The GRU's
       dz has 4 Hd columns: dn, dr, dz, r dn, so that either side of the cell finds its three in one piece. */
    const void *dy;
    void *dz, *dh, *dc, *dx;
    void *beside;                  /* (R, I + Hd): x and the state before of each row, for the weights' gradients */
    const void *weight;            /* W_hh (G Hd, Hd) */
    char *packed;                  /* the panels of both weights */
    long start;                    /* backward: the column of the panels that W_ih begins with */
    long begin, end;               /* turns of the forward pass that a launch takes */
    long step, width;              /* of a step that is cut by units: units in a job */
} dl_sequence;

/* The loops that run side by side: the directions of a layer, or the layers of a stack whose batch is one. */
typedef struct {
    dl_sequence *loops;
    long count, jobs, threads; /* loops; jobs of each; threads, 1 where there is too little work for more */
    const int64_t *cut;        /* job j takes the states cut[j] .. cut[j + 1] */
    int stack;                 /* layer after layer: a job makes the input's part, or dx, of its turns at once */
} dl_sequences;

DL_UNUSED static long dl_sequence_gates(int kind) {
    return kind == DL_SEQUENCE_LSTM ? 4 : kind == DL_SEQUENCE_GRU ? 3 : 1;
}
/* Columns of dz, in Hd. */
DL_UNUSED static long dl_sequence_dz(int kind) { return dl_sequence_gates(kind) == 1 ? 1 : 4; }

/* The step that is taken at a turn of the forward pass. */
DL_UNUSED static long dl_sequence_at(const dl_sequence *s, long turn) {
    return s->reverse ? s->steps - 1 - turn : turn;
}

/* Panels of W_hh, and of W_ih where the loop makes dx. */
DL_UNUSED static long dl_sequence_back_panels(const dl_sequence *s, long panel) {
    return dl_ceil_div(s->within ? s->start + s->features : s->hidden, panel);
}

#define DL_IMPL "simd/vmath.inc.h"
#include "simd/simd.h"
#define DL_IMPL "product/row_tile.inc.h"
#include "simd/simd.h"
#define DL_IMPL "sequence/sequence_tile.inc.h"
#include "simd/simd.h"
#define DL_IMPL "sequence/sequence.inc.h"
#include "simd/simd.h"
#define DL_IMPL "sequence/sequence_back.inc.h"
#include "simd/simd.h"
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
static long dl_sequence_panel(const dl_sequence *s, int forward) {
    return dl_lanes(s->dtype) * (forward && dl_sequence_gates(s->kind) != 1 ? 1 : 2);
}
/* The column of the panels that W_ih begins with: at once, or in a panel of its own where it is multiplied apart. */
static long dl_sequence_first_column(const dl_sequence *s, int stack) {
    return stack || s->kind == DL_SEQUENCE_GRU ? dl_round_up(s->hidden, dl_sequence_panel(s, 0)) : s->hidden;
}
/* Numbers in a panel. */
static long dl_sequence_numbers(const dl_sequence *s, int forward) {
    const long gates = dl_sequence_gates(s->kind);
    return dl_sequence_panel(s, forward) * gates * (forward ? s->features + s->hidden : s->hidden);
}
/* Panels of both weights. */
static long dl_sequence_panels(const dl_sequence *s, int forward) {
    return dl_ceil_div(forward ? s->hidden : s->start + s->features, dl_sequence_panel(s, forward));
}

/* Whether steps are cut by units: enough work in each step, and fewer jobs than threads or weights that only the
   threads' second-level caches together can hold. */
static int dl_sequence_by_units(const dl_sequences *all) {
    const dl_sequence *s = all->loops;
    const double weights = (double)dl_sequence_gates(s->kind) * s->hidden * (s->hidden + (s->within ? s->features : 0));
    const double work = s->batch * weights;
    if (all->threads < 2 || work < DL_SEQUENCE_STEP_WORK) return 0;
    return s->batch * all->count < all->threads ||
           (weights * dl_item(s->dtype) > dl_cache.l2 && work >= DL_SEQUENCE_SHARE * DL_SEQUENCE_STEP_WORK);
}

/* Jobs in parallel, or here where they are too little work. */
DL_CHECKED static int dl_sequence_run(void *ctx, int dtype, const dl_job (*jobs)[DL_ISAS], long count, int here) {
    const dl_job job = jobs[dtype][dl_isa];
    return here ? dl_run_here(job, ctx, count) : dl_parallel_for(job, ctx, count);
}

/* The panels of the weights of all loops: 0, or -1 when there is no memory, as all that follow. */
DL_CHECKED static int dl_sequence_pack(const dl_sequences *all, int forward) {
    const dl_job(*jobs)[DL_ISAS] = forward ? dl_sequence_pack_jobs : dl_sequence_unpack_jobs;
    size_t bytes = 0;
    for (long i = 0; i < all->count; i++) {
        const dl_sequence *s = all->loops + i;
        bytes += dl_round_up(dl_sequence_panels(s, forward) * dl_sequence_numbers(s, forward) * dl_item(s->dtype), 64);
    }
    char *packed = (char *)dl_scratch(DL_SCRATCH_SHARED, bytes + 64);
    if (!packed) return -1;
    for (long i = 0; i < all->count; i++) {
        dl_sequence *s = all->loops + i;
        const long panels = dl_sequence_panels(s, forward), numbers = panels * dl_sequence_numbers(s, forward);
        s->packed = packed, s->width = dl_sequence_panel(s, forward);
        packed += dl_round_up(numbers * dl_item(s->dtype), 64);
        if (dl_sequence_run(s, s->dtype, jobs, panels, numbers < DL_SEQUENCE_PACK_SERIAL)) return -1;
    }
    return 0;
}

/* The turns that all loops have, of those that each is given. */
DL_CHECKED static int dl_sequence_turns(dl_sequences *all, int forward) {
    return dl_sequence_run(all, all->loops->dtype, forward ? dl_sequence_forward_jobs : dl_sequence_backward_jobs,
                           all->count * all->jobs, all->threads == 1);
}

/* Layer l takes some turns while the next one takes those before; backward likewise, from the end. */
DL_CHECKED static int dl_sequence_wavefront(dl_sequences *all, int forward) {
    const long steps = all->loops->steps, turns = all->threads > 1 ? DL_SEQUENCE_TURNS : steps;
    const long chunks = dl_ceil_div(steps, turns);
    for (long stage = 0; stage < chunks + all->count - 1; stage++) {
        for (long l = 0; l < all->count; l++) {
            const long chunk = stage - (forward ? l : all->count - 1 - l), out = chunk < 0 || chunk >= chunks;
            const long first = (forward ? chunk : chunks - 1 - chunk) * turns;
            all->loops[l].begin = out ? 0 : first;
            all->loops[l].end = out ? 0 : dl_min(first + turns, steps);
        }
        if (dl_sequence_turns(all, forward)) return -1;
    }
    return 0;
}

/* One loop, each step cut by units. */
DL_CHECKED static int dl_sequence_units(dl_sequence *s, long threads, int forward) {
    const long panel = dl_sequence_panel(s, forward);
    const long panels = forward ? dl_ceil_div(s->hidden, panel) : dl_sequence_back_panels(s, panel);
    const long each = dl_ceil_div(panels, threads), jobs = dl_ceil_div(panels, each);
    s->width = each * panel;
    const dl_job(*kinds)[DL_ISAS] = forward ? dl_sequence_units_jobs : dl_sequence_back_units_jobs;
    if (!forward)
        DL_PICK(dl_sequence_gates_back, s->dtype)(s, dl_sequence_at(s, s->steps - 1), 0, s->batch, 0, s->hidden);
    for (long turn = 0; turn < s->steps; turn++) {
        s->step = forward ? turn : s->steps - 1 - turn;
        if (dl_sequence_run(s, s->dtype, kinds, jobs, 0)) return -1;
    }
    return 0;
}

DL_CHECKED static int dl_sequence_forward(dl_sequences *all) {
    const int by_units = dl_sequence_by_units(all);
    if (dl_sequence_pack(all, 1)) return -1;
    if (all->stack) return dl_sequence_wavefront(all, 1);
    for (long i = 0; i < all->count; i++) {
        dl_sequence *s = all->loops + i;
        s->begin = 0, s->end = s->steps;
        if (by_units && dl_sequence_units(s, all->threads, 1)) return -1;
    }
    return by_units ? 0 : dl_sequence_turns(all, 1);
}

/* The step that parts the rows into halves. */
static long dl_sequence_middle(const dl_sequence *s) {
    long t = 0;
    for (long rows = 0; 2 * rows < s->rows; t++)
        rows += s->count[t];
    return t;
}

/* Both directions, each with dx in its loop: neither meets a row that the other has not left. */
DL_CHECKED static int dl_sequence_halves(dl_sequences *all) {
    const long steps = all->loops->steps, middle = dl_sequence_middle(all->loops);
    for (int second = 0; second < 2; second++) {
        for (long i = 0; i < 2; i++) {
            dl_sequence *s = all->loops + i;
            const long cut = s->reverse ? steps - middle : middle;
            s->adds = second, s->begin = second ? 0 : cut, s->end = second ? cut : steps;
        }
        if (dl_sequence_turns(all, 0)) return -1;
    }
    return 0;
}

DL_CHECKED static int dl_sequence_backward(dl_sequences *all) {
    const int by_units = dl_sequence_by_units(all);
    if (dl_sequence_pack(all, 0)) return -1;
    if (all->stack) return dl_sequence_wavefront(all, 0);
    if (!by_units && all->count > 1 && all->loops->within) return dl_sequence_halves(all);
    for (long i = 0; i < all->count; i++) {
        dl_sequence *s = all->loops + i;
        s->begin = 0, s->end = s->steps, s->adds = i > 0;
        if (by_units && dl_sequence_units(s, all->threads, 0)) return -1;
    }
    return by_units ? 0 : dl_sequence_turns(all, 0);
}

/* Fills `beside` from x, y and h0. */
DL_CHECKED static int dl_sequence_join(dl_sequence *s) {
    const double numbers = (double)s->batch * s->steps * (s->features + s->hidden);
    s->width = dl_ceil_div(s->steps, DL_SEQUENCE_JOBS);
    return dl_sequence_run(s, s->dtype, dl_sequence_beside_jobs, dl_ceil_div(s->steps, s->width),
                           numbers < DL_SEQUENCE_PACK_SERIAL);
}
#endif
