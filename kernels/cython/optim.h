/* Optimizer updates: param, gradient and state pass through the cache once, in stretches of DL_STEP_JOB elements.
   Options are doubles, rounded to the arrays' dtype once, as NumPy rounds a Python number beside a float32 array. */
#ifndef DLFAST_OPTIM_H
#define DLFAST_OPTIM_H
#include "threads.h"
#include "simd.h"

#define DL_STEP_JOB 16384

typedef struct {
    long n;
    void *param, *grad, *buffer; /* buffer: NULL without momentum */
    double lr, momentum, dampening, decay;
    int nesterov, first;
} dl_sgd;

typedef struct {
    long n;
    void *param, *grad, *square, *buffer;
    double lr, alpha, eps, decay, momentum;
    int eps_inside;
} dl_rmsprop;

typedef struct {
    long n;
    void *param, *grad, *mean, *square;
    double lr, beta1, beta2, eps, decay, correction1, correction2; /* corrections: 1 - beta^step */
    int decoupled;
} dl_adam;

#define DL_IMPL "optim_impl.h"
#include "simd.h"
static const dl_job dl_sgd_jobs[2][DL_ISAS] = DL_TABLE(sgd_job);
static const dl_job dl_rmsprop_jobs[2][DL_ISAS] = DL_TABLE(rmsprop_job);
static const dl_job dl_adam_jobs[2][DL_ISAS] = DL_TABLE(adam_job);

static void dl_sgd_run(dl_sgd *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_sgd_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
static void dl_rmsprop_run(dl_rmsprop *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_rmsprop_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
static void dl_adam_run(dl_adam *m, int dtype) {
    dl_parallel_for(DL_PICK(dl_adam_jobs, dtype), m, dl_ceil_div(m->n, DL_STEP_JOB));
}
#endif
