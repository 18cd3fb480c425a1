/* Losses.  cross_entropy reads rows of logits once forward, for the loss of each row and what its log-softmax is made
   of (log_probs = (logits - most) - log_sum), and once backward.  mse, l1, huber and bce_with_logits compare two arrays
   element by element; sums are partial sums of fixed stretches, added in order, in double.  Formulas as in the
   reference. */
#ifndef DLFAST_LOSS_H
#define DLFAST_LOSS_H
#include "rowwise/softmax.h"

#define DL_PAIRS_JOB 16384
enum { DL_MSE, DL_L1, DL_HUBER, DL_BCE };

typedef struct {
    long rows, classes, ignore, step;
    const void *logits, *weight, *dy;
    const int64_t *target;
    void *most, *log_sum, *losses, *dlogits;
    double smoothing, divisor; /* divisor: the summed weight for the mean, else 1 */
    int dy_rows;               /* dy has one element a row */
} dl_cross_entropy;

typedef struct {
    long n;
    int kind, dy_each; /* dy has one element for each of x */
    const void *x, *target, *weight, *pos_weight, *dy;
    void *losses, *dx, *dtarget;
    double *partial, delta, divisor;
} dl_pairs;

#define DL_IMPL "rowwise/loss.inc.h"
#include "simd/simd.h"
static const dl_job dl_cross_entropy_jobs[2][DL_ISAS] = DL_TABLE(cross_entropy_job);
static const dl_job dl_cross_entropy_back_jobs[2][DL_ISAS] = DL_TABLE(cross_entropy_back_job);
static const dl_job dl_pairs_jobs[2][DL_ISAS] = DL_TABLE(pairs_job);
static const dl_job dl_pairs_back_jobs[2][DL_ISAS] = DL_TABLE(pairs_back_job);

static void dl_cross_entropy_run(dl_cross_entropy *m, int backward, int dtype) {
    m->step = dl_max(1, DL_SOFTMAX_JOB / dl_max(m->classes, 1));
    dl_parallel_for(backward ? DL_PICK(dl_cross_entropy_back_jobs, dtype) : DL_PICK(dl_cross_entropy_jobs, dtype), m,
                    dl_ceil_div(m->rows, m->step));
}

static double dl_element(const void *values, long i, int dtype) {
    return dtype ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

static double dl_sum(const void *values, long n, int dtype) {
    double sum = 0;
    for (long i = 0; i < n; i++)
        sum += dl_element(values, i, dtype);
    return sum;
}

/* Sets *total to the sum of the losses unless they are wanted one by one.  Returns 0, or -1 when there is no memory. */
static int dl_pairs_run(dl_pairs *m, double *total, int dtype) {
    const long jobs = dl_ceil_div(m->n, DL_PAIRS_JOB);
    *total = 0;
    m->partial = (double *)dl_scratch(DL_SCRATCH_SHARED, sizeof(double) * (jobs + 1));
    if (!m->partial) return -1;
    dl_parallel_for(DL_PICK(dl_pairs_jobs, dtype), m, jobs);
    if (!m->losses) *total = dl_sum(m->partial, jobs, 1);
    return 0;
}
static void dl_pairs_back(dl_pairs *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_pairs_back_jobs, dtype), m, dl_ceil_div(m->n, DL_PAIRS_JOB));
}
#endif
