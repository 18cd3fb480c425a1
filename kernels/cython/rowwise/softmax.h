/* Softmax and log-softmax of rows: the maximum, the sum of exp(x - max), the result; a row stays in cache between the
   passes. A row that is -inf throughout, or holds +inf or NaN, gives NaN, as in the reference. */
#ifndef DLFAST_SOFTMAX_H
#define DLFAST_SOFTMAX_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_SOFTMAX_JOB 8192 /* elements in a job, some 5 us */
#define DL_SOFTMAX_BLOCK 256 /* registers in one sum: the errors grow with the number of sums */
#define DL_SHORT_ROW 32     /* rows so short that a register each would be waste: several are taken together */

typedef struct {
    long rows, n, step;
    const void *a, *dy; /* x, or y with dy for the backward */
    void *out;
    int logarithm;
} dl_softmax;

#define DL_IMPL "simd/vmath.inc.h"
#include "simd/simd.h"
#define DL_IMPL "rowwise/softmax.inc.h"
#include "simd/simd.h"
static const dl_job dl_softmax_jobs[2][DL_ISAS] = DL_TABLE(softmax_job);

DL_UNUSED static void dl_softmax_run(dl_softmax *m, int dtype) {
    m->step = dl_max(1, DL_SOFTMAX_JOB / dl_max(m->n, 1));
    if (m->n) dl_parallel_for(DL_PICK(dl_softmax_jobs, dtype), m, dl_ceil_div(m->rows, m->step));
}
#endif
