/* Batch normalisation of rows x (M, C), with a residual and ReLU: formulas as in the reference.

   Rows are joined to wide ones of `width` columns, a multiple of C, so that registers are full for few channels too;
   what remains, less than a wide row, goes last.  A pass over blocks of BLOCK wide rows leaves two numbers for each
   column and chunk of blocks, in double; chunks are joined in order.  Within a block, which stays in cache, the mean
   comes first and then the squared distances from it, and blocks are joined about their own means: no offset of the
   data costs digits.  Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", eq. 2.1.
   The second pass takes the chunks backwards and so meets the end of the arrays while they are in cache. */
#ifndef DLFAST_BATCH_NORM_H
#define DLFAST_BATCH_NORM_H
#include "runtime/threads.h"
#include "simd/simd.h"

#define DL_BN_CHUNKS 64
#define DL_BN_JOB 8192 /* elements in a chunk, at least: some 2 us */
#define DL_BN_BLOCK 32
#define DL_BN_WIDTH 64 /* columns that a wide row has at least */

enum { DL_BN_MEAN, DL_BN_SCALE, DL_BN_SHIFT, DL_BN_A, DL_BN_B, DL_BN_TABLES }; /* each a row of `table` */

/* What becomes of dy on its way back through the activation: nothing; or ReLU let it through where y > 0, with y as it
   was kept, or made again from x. */
enum { DL_BN_PLAIN, DL_BN_FROM_Y, DL_BN_FROM_X };

typedef struct {
    long rows, cols;
    int dtype, relu, batch; /* batch: mean and var are those of the batch */
    const void *x, *weight, *bias, *residual, *dy, *y;
    void *mean, *var, *out, *dresidual, *dweight, *dbias; /* out: y or dx */
    double eps;
    /* filled in by dl_bn_plan */
    long width, stride, wide, rest, chunk, chunks; /* wide rows, their elements; elements that remain; wide rows a job */
    int stream;
    void *table; /* (DL_BN_TABLES, stride): a number for each column of a wide row */
    double *partial; /* (chunks, 2, width) */
    char *blocks;    /* (chunks, 3, stride) in the arrays' dtype */
} dl_batch_norm;

static double dl_number(const void *array, long i, int dtype) {
    return dtype ? ((const double *)array)[i] : (double)((const float *)array)[i];
}
static void dl_set(void *array, long i, int dtype, double value) {
    if (dtype)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

/* The mean and the sum of squared distances from it, of `before` numbers, become those of n more as well. */
static void dl_bn_join(double *mean, double *square, double before, double more_mean, double more_square, double n) {
    const double apart = more_mean - *mean, share = n / (before + n);
    *mean += apart * share;
    *square += more_square + apart * apart * before * share;
}

static long dl_gcd(long a, long b) { return b ? dl_gcd(b, a % b) : a; }

#define DL_IMPL "rowwise/batch_norm.inc.h"
#include "simd/simd.h"
static const dl_job dl_bn_moments_jobs[2][DL_ISAS] = DL_TABLE(bn_moments_job);
static const dl_job dl_bn_apply_jobs[2][DL_ISAS] = DL_TABLE(bn_apply_job);
static const dl_job dl_bn_sums_jobs[2][DL_ISAS] = DL_TABLE(bn_sums_job);
static const dl_job dl_bn_back_jobs[2][DL_ISAS] = DL_TABLE(bn_back_job);

/* The cut into wide rows and jobs, by the shape alone, and memory.  Returns 0, or -1 when there is none. */
static int dl_bn_plan(dl_batch_norm *m) {
    const long item = m->dtype ? 8 : 4, size = m->rows * m->cols;
    m->width = m->cols;
    if (m->cols && m->cols < DL_BN_WIDTH) {
        m->width = m->cols * (16 / dl_gcd(m->cols, 16));
        while (m->width < DL_BN_WIDTH)
            m->width *= 2;
    }
    m->stride = dl_round_up(m->width, 16);
    m->wide = m->width ? size / m->width : 0;
    m->rest = size - m->wide * m->width;
    m->chunk = dl_max(dl_ceil_div(DL_BN_JOB, dl_max(m->width, 1)), dl_ceil_div(m->wide, DL_BN_CHUNKS));
    m->chunk = dl_round_up(m->chunk, DL_BN_BLOCK);
    m->chunks = dl_max(dl_ceil_div(m->wide, m->chunk), 1);
    const size_t table = (size_t)(DL_BN_TABLES * m->stride * item);
    const size_t partial = sizeof(double) * (size_t)(m->chunks * 2 * m->width);
    m->table = dl_scratch(DL_SCRATCH_SHARED, table + partial + (size_t)(m->chunks * 3 * m->stride * item));
    if (!m->table) return -1;
    m->partial = (double *)((char *)m->table + table);
    m->blocks = (char *)m->partial + partial;
    return 0;
}

/* The partial sums of all chunks and of the columns of a wide row that are one, into partial[0..2 C). */
static void dl_bn_total(const dl_batch_norm *m) {
    const long width = m->width, cols = m->cols;
    double *total = m->partial;
    for (long chunk = 1; chunk < m->chunks; chunk++)
        for (long c = 0; c < 2 * width; c++)
            total[c] += m->partial[chunk * 2 * width + c];
    for (long k = 0; k < 2; k++)
        for (long c = 0; c < cols; c++) {
            double sum = 0;
            for (long each = c; each < width; each += cols)
                sum += total[k * width + each];
            total[k * cols + c] = sum;
        }
}

/* The number of column c in each of its places in a wide row. */
static void dl_bn_fill(const dl_batch_norm *m, int table, long c, double value) {
    for (long each = c; each < m->width; each += m->cols)
        dl_set(m->table, table * m->stride + each, m->dtype, value);
}

/* Rows of a chunk that have a column of the wide row. */
static double dl_bn_count(const dl_batch_norm *m, long chunk, long column) {
    const long left = m->wide - chunk * m->chunk;
    return (double)(left <= m->chunk ? left + (column < m->rest) : m->chunk);
}

/* Mean and biased variance of each column. */
static void dl_bn_statistics(dl_batch_norm *m) {
    dl_parallel_for(DL_PICK(dl_bn_moments_jobs, m->dtype), m, m->chunks);
    for (long c = 0; c < m->cols; c++) {
        double mean = 0, square = 0, rows = 0;
        for (long each = c; each < m->width; each += m->cols)
            for (long chunk = 0; chunk < m->chunks; chunk++) {
                const double *moments = m->partial + chunk * 2 * m->width, n = dl_bn_count(m, chunk, each);
                if (n == 0) continue;
                dl_bn_join(&mean, &square, rows, moments[each], moments[m->width + each], n);
                rows += n;
            }
        dl_set(m->mean, c, m->dtype, mean);
        dl_set(m->var, c, m->dtype, rows > 0 ? square / rows : 0);
    }
}

static double dl_bn_rstd(const dl_batch_norm *m, long c) { return 1 / sqrt(dl_number(m->var, c, m->dtype) + m->eps); }

static void dl_bn_tables(const dl_batch_norm *m) {
    for (long c = 0; c < m->cols; c++) {
        dl_bn_fill(m, DL_BN_MEAN, c, dl_number(m->mean, c, m->dtype));
        dl_bn_fill(m, DL_BN_SCALE, c, dl_bn_rstd(m, c) * (m->weight ? dl_number(m->weight, c, m->dtype) : 1));
        dl_bn_fill(m, DL_BN_SHIFT, c, m->bias ? dl_number(m->bias, c, m->dtype) : 0);
    }
}

#define DL_BN_STREAM 4 /* see dl_streams */
/* Streaming pays where a pass is all writing but for one array; dx and a sum of two arrays measured slower. */
static int dl_bn_streams(const dl_batch_norm *m, const void *to) {
    const size_t item = m->dtype ? 8 : 4;
    return dl_streams(to, (size_t)(m->rows * m->cols) * item, (size_t)m->width * item, DL_BN_STREAM);
}

static int dl_bn_forward(dl_batch_norm *m) {
    if (dl_bn_plan(m)) return -1;
    if (m->batch) dl_bn_statistics(m);
    dl_bn_tables(m);
    m->stream = !m->residual && dl_bn_streams(m, m->out);
    dl_parallel_for(DL_PICK(dl_bn_apply_jobs, m->dtype), m, m->chunks);
    return 0;
}

/* dweight and dbias always; dx and dresidual where there is room for them. */
static int dl_bn_backward(dl_batch_norm *m) {
    if (dl_bn_plan(m)) return -1;
    dl_bn_tables(m);
    m->stream = m->dresidual && dl_bn_streams(m, m->dresidual);
    dl_parallel_for(DL_PICK(dl_bn_sums_jobs, m->dtype), m, m->chunks);
    dl_bn_total(m);
    const double rows = (double)dl_max(m->rows, 1);
    for (long c = 0; c < m->cols; c++) {
        const double rstd = dl_bn_rstd(m, c), sum = m->partial[c], product = m->partial[m->cols + c] * rstd;
        dl_set(m->dbias, c, m->dtype, sum);
        dl_set(m->dweight, c, m->dtype, product);
        dl_bn_fill(m, DL_BN_A, c, m->batch ? sum / rows : 0);
        dl_bn_fill(m, DL_BN_B, c, m->batch ? product * rstd / rows : 0);
    }
    if (!m->out) return 0;
    dl_parallel_for(DL_PICK(dl_bn_back_jobs, m->dtype), m, m->chunks);
    return 0;
}
#endif
