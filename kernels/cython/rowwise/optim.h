/* Optimizer updates: param, gradient and state pass through the cache once, in stretches of DL_STEP_JOB elements.
   Options are doubles, rounded to the arrays' dtype once, as NumPy rounds a Python number beside a float32 array. */
#ifndef DLFAST_OPTIM_H
#define DLFAST_OPTIM_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_STEP_JOB 16384
#define DL_SUM_LANES 16 /* sums beside each other, so that no addition waits for the one before */
#define DL_SUM_TERMS 8  /* float32 squares that are added before double takes over */
#define DL_SUM_LEAST 1e-25 /* squares below 2^-126 may be lost: of a stretch's sum above this, less than a rounding */

typedef struct {
    long n;
    void *param, *grad, *buffer; /* buffer: NULL without momentum */
    double lr, momentum, dampening, decay, scale;
    int nesterov, first;
} dl_sgd;

typedef struct {
    long n;
    void *param, *grad, *square, *buffer;
    double lr, alpha, eps, decay, momentum, scale;
    int eps_inside;
} dl_rmsprop;

typedef struct {
    long n;
    void *param, *grad, *mean, *square;
    double lr, beta1, beta2, eps, decay, scale, correction1, correction2; /* corrections: 1 - beta^step */
    int decoupled;
} dl_adam;

typedef struct {
    long n;
    void *param, *grad, *sum;
    double lr, eps, decay, scale;
} dl_adagrad;

/* Adam's averages, and a step of `fresh` gradients and `old` averages, by sqrt(square) root + eps where it divides. */
typedef struct {
    long n;
    void *param, *grad, *mean, *square;
    double fresh, old, beta1, beta2, eps, root, decay, keep, scale;
    int divides;
} dl_mixed;

typedef struct {
    long n;
    void *param, *grad, *mean;
    double lr, beta1, beta2, keep, scale;
} dl_lion;

typedef struct {
    long n;
    const void *x;
    double *partial; /* a sum for each job */
} dl_array_sum;

#define DL_IMPL "rowwise/optim.inc.h"
#include "simd/simd.h"
static const dl_job dl_sgd_jobs[2][DL_ISAS] = DL_TABLE(sgd_job);
static const dl_job dl_rmsprop_jobs[2][DL_ISAS] = DL_TABLE(rmsprop_job);
static const dl_job dl_adam_jobs[2][DL_ISAS] = DL_TABLE(adam_job);
static const dl_job dl_adagrad_jobs[2][DL_ISAS] = DL_TABLE(adagrad_job);
static const dl_job dl_mixed_jobs[2][DL_ISAS] = DL_TABLE(mixed_job);
static const dl_job dl_lion_jobs[2][DL_ISAS] = DL_TABLE(lion_job);
static const dl_job dl_square_sum_jobs[2][DL_ISAS] = DL_TABLE(square_sum_job);
static const dl_job dl_abs_sum_jobs[2][DL_ISAS] = DL_TABLE(abs_sum_job);

static void dl_sgd_run(dl_sgd *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_sgd_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
static void dl_rmsprop_run(dl_rmsprop *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_rmsprop_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
static void dl_adam_run(dl_adam *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_adam_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
static void dl_adagrad_run(dl_adagrad *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_adagrad_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
static void dl_mixed_run(dl_mixed *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_mixed_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
static void dl_lion_run(dl_lion *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_lion_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
/* The sum over jobs of stretches of x.  Returns 0, or -1 when there is no memory. */
static int dl_sum_run(dl_job run, long n, const void *x, double *sum) {
    const long jobs = dl_ceil_div(n, DL_STEP_JOB);
    dl_array_sum m = {n, x, (double *)dl_scratch(DL_SCRATCH_SHARED, sizeof(double) * (size_t)dl_max(jobs, 1))};
    if (!m.partial) return -1;
    *sum = 0;
    dl_parallel_for(run, &m, jobs);
    for (long job = 0; job < jobs; job++)
        *sum += m.partial[job];
    return 0;
}
static int dl_square_sum_run(long n, const void *x, int dtype, double *sum) {
    return dl_sum_run(DL_PICK(dl_square_sum_jobs, dtype), n, x, sum);
}
static int dl_abs_sum_run(long n, const void *x, int dtype, double *sum) {
    return dl_sum_run(DL_PICK(dl_abs_sum_jobs, dtype), n, x, sum);
}
#endif
