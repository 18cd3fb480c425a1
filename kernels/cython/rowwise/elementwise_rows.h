/* Activations that are not one value in, one value out: prelu, with a slope for each column, and glu, with two halves.

   prelu takes x as lines of whole rows, at least DL_PRELU_LINE numbers where there are so many, and the slopes repeated
   to that length: so rows of a few columns, and a single slope for all, fill registers too.  Each number of a line has a
   sum of its own for dweight, for DL_PRELU_DEPTH lines in the arrays' dtype, in double for a fixed chunk of lines; chunks
   are added in order, then the columns of a line.

   glu takes x as (rows, 2, half), y as (rows, half), in jobs of several rows or of a part of one. */
#ifndef DLFAST_ELEMENTWISE_ROWS_H
#define DLFAST_ELEMENTWISE_ROWS_H
#include "rowwise/elementwise.h"

#define DL_PRELU_LINE 256
#define DL_PRELU_DEPTH 16
#define DL_PRELU_CHUNKS 64

typedef struct {
    long n, cols, line, chunk; /* numbers of x, slopes, numbers of a line, lines of a chunk */
    const void *x, *dy, *weight;
    void *out, *slopes; /* out: y, or dx where it is wanted; slopes: the weight, repeated to a line */
    double *partial;    /* (chunks, 2 line), a row of sums and one for the arrays' dtype; NULL: no dweight */
} dl_prelu;

typedef struct {
    long rows, half, group, parts; /* a job takes `group` rows, or one of the `parts` of a row */
    const void *x, *dy;
    void *out;
} dl_glu;

#define DL_IMPL "rowwise/elementwise_rows.inc.h"
#include "simd/simd.h"
static const dl_job dl_prelu_jobs[2][2][DL_ISAS] = {DL_TABLE(prelu_forward_job), DL_TABLE(prelu_backward_job)};
static const dl_job dl_glu_jobs[2][2][DL_ISAS] = {DL_TABLE(glu_forward_job), DL_TABLE(glu_backward_job)};
static void (*const dl_prelu_repeats[2][DL_ISAS])(const dl_prelu *) = DL_TABLE(prelu_repeat);

/* y, or dx and, where it is wanted, the sums of dweight.  Returns 0, or -1 without memory. */
static int dl_prelu_run(dl_prelu *p, double *dweight, int backward, int dtype) {
    const long cols = dl_max(p->cols, 1), rows = dl_max(p->n / cols, 1);
    p->line = cols * dl_min(dl_ceil_div(DL_PRELU_LINE, cols), rows);
    const long lines = dl_ceil_div(p->n, p->line);
    p->chunk = dl_max(dl_ceil_div(DL_MAP_JOB, p->line), dl_ceil_div(lines, DL_PRELU_CHUNKS));
    const long chunks = dl_ceil_div(lines, p->chunk);
    double *memory = (double *)dl_scratch(DL_SCRATCH_SHARED, sizeof(double) * (1 + (dweight ? 2 * chunks : 0)) * p->line);
    if (!memory) return -1;
    p->slopes = memory;
    p->partial = dweight ? memory + p->line : NULL;
    if (p->cols) DL_PICK(dl_prelu_repeats, dtype)(p);
    dl_parallel_for(DL_PICK(dl_prelu_jobs[backward], dtype), p, chunks);
    for (long c = 0; dweight && c < p->cols; c++) {
        dweight[c] = 0;
        for (long i = c; i < p->line; i += cols)
            for (long chunk = 0; chunk < chunks; chunk++)
                dweight[c] += p->partial[chunk * 2 * p->line + i];
    }
    return 0;
}

static void dl_glu_run(dl_glu *g, int backward, int dtype) {
    g->group = dl_max(DL_MAP_JOB / dl_max(g->half, 1), 1);
    g->parts = dl_max(dl_ceil_div(g->half, DL_MAP_JOB), 1);
    const long jobs = g->half ? dl_ceil_div(g->rows, g->group) * g->parts : 0;
    dl_parallel_for(DL_PICK(dl_glu_jobs[backward], dtype), g, jobs);
}
#endif
