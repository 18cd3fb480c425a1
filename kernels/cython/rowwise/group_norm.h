/* Group normalisation of images x (N, L, C), L pixels each: formulas as in the reference.

   Pixels are joined to wide rows of `width` columns, a multiple of C, so that registers are full for few channels too;
   what remains, less than a wide row, goes last.  A wide row's columns are summed over blocks of rows that stay in cache,
   first for the means of the groups, then about these; blocks are joined in double, in order, about their own means (as
   in batch_norm.h), so no offset of the data costs digits.  The mean is kept in double, and what it
   has more than a number of the arrays' dtype goes into the shift.  Four rows go together: each table is loaded once for
   them, and what they store lies too near to look like what others load.

   Small images are one unit of work each, normalised while they are in cache, and a job takes several; the rows of large
   ones are cut into chunks, and a second pass normalises. */
#ifndef DLFAST_GROUP_NORM_H
#define DLFAST_GROUP_NORM_H
#include "rowwise/batch_norm.h"

#define DL_GN_JOB 8192     /* elements in a job, at least: some 2 us */
#define DL_GN_JOBS 64      /* jobs that small images make, at most, or an image that is cut */
#define DL_GN_IMAGE 262144 /* elements of an image that is not cut where there are FEW of them or more */
#define DL_GN_FEW 4
#define DL_GN_WIDTH 64   /* columns that a wide row has at least */
#define DL_GN_BLOCK 8192 /* elements in a block */

enum { DL_GN_MEAN, DL_GN_SCALE, DL_GN_SHIFT, DL_GN_SLOPE, DL_GN_SUM, DL_GN_PRODUCT, DL_GN_ROWS }; /* rows of a room */

typedef struct {
    long n, pixels, cols, groups;
    int dtype;
    const void *x, *dy, *weight, *bias;
    double *mean;     /* (N, G) */
    void *rstd, *out; /* (N, G); y or dx, NULL where dx is not wanted */
    double eps, *sums; /* sums: dbias and dweight (2, C) of a backward */
    /* filled in by dl_gn_plan */
    long width, stride, wide, rest, block, chunk, chunks, images, jobs; /* chunk: wide rows; images: of a job */
    double *partial; /* what the chunks of cut images found: 2 G + 1 moments or 2 C sums; then (N, 2 C) sums of images */
    double *job_sums; /* (jobs, 2 C) */
    char *rooms;      /* for each job DL_GN_ROWS wide rows in the arrays' dtype */
    double *found;    /* for each job 2 G + 1 moments, 2 G of a block and 2 C sums */
} dl_group_norm;

#define DL_GN_FOUND(m) (4 * (m)->groups + 1 + 2 * (m)->cols)

/* Block `index` of a chunk: its first element, how many rows it has and how long they are. */
typedef struct {
    long index, at, rows, n;
} dl_gn_part;

/* Block b of a chunk; rows is 0 behind the last one. */
static dl_gn_part dl_gn_block(const dl_group_norm *m, long chunk, long b) {
    const long end = dl_min((chunk + 1) * m->chunk, m->wide), first = chunk * m->chunk + b * m->block;
    const int behind = first >= end, last = behind && first - end < m->block && chunk == m->chunks - 1;
    const long rows = behind ? last && m->rest : dl_min(m->block, end - first);
    const dl_gn_part part = {b, (behind ? m->wide : first) * m->width, rows, behind ? m->rest : m->width};
    return part;
}

/* Joins n more numbers a group, (mean, squared distances) x groups, to `moments`, which are likewise and end in a count.
   Source: Chan, Golub and LeVeque 1983, eq. 2.1. */
static void dl_gn_join(double *DL_R moments, const double *DL_R more, long groups, double n) {
    const double before = moments[2 * groups], share = n / (before + n), both = before * share;
    for (long g = 0; g < groups; g++) {
        const double apart = more[g] - moments[g];
        moments[g] += apart * share;
        moments[groups + g] += more[groups + g] + apart * apart * both;
    }
    moments[2 * groups] += n;
}

/* Mean and rstd of the groups of an image from the moments that its chunks found, which are joined in the first. */
static void dl_gn_settle(const dl_group_norm *m, long image, double *found) {
    const long groups = m->groups, size = 2 * groups + 1;
    for (long chunk = 1; chunk < m->chunks; chunk++)
        if (found[chunk * size + 2 * groups] > 0)
            dl_gn_join(found, found + chunk * size, groups, found[chunk * size + 2 * groups]);
    for (long g = 0; g < groups; g++) {
        const double count = found[2 * groups];
        m->mean[image * groups + g] = found[g];
        dl_set(m->rstd, image * groups + g, m->dtype, 1 / sqrt((count > 0 ? found[groups + g] / count : 0) + m->eps));
    }
}

/* sums += the sums (2, C) of an image: of dy, and of dy u. */
static void dl_gn_add(const dl_group_norm *m, long image, const double *of_image, double *sums) {
    const long depth = m->cols / m->groups;
    for (long g = 0; g < m->groups; g++) {
        const double rstd = dl_number(m->rstd, image * m->groups + g, m->dtype);
        for (long c = g * depth; c < (g + 1) * depth; c++) {
            sums[c] += of_image[c];
            sums[m->cols + c] += of_image[m->cols + c] * rstd;
        }
    }
}

#define DL_IMPL "rowwise/group_norm.inc.h"
#include "simd/simd.h"
static const dl_job dl_gn_moments_jobs[2][DL_ISAS] = DL_TABLE(gn_moments_job);
static const dl_job dl_gn_apply_jobs[2][DL_ISAS] = DL_TABLE(gn_apply_job);
static const dl_job dl_gn_sums_jobs[2][DL_ISAS] = DL_TABLE(gn_sums_job);
static const dl_job dl_gn_back_jobs[2][DL_ISAS] = DL_TABLE(gn_back_job);

/* The cut into rows and jobs, by the shape alone, and memory.  Returns 0, or -1 when there is none. */
static int dl_gn_plan(dl_group_norm *m) {
    const long size = m->pixels * m->cols, item = m->dtype ? 8 : 4;
    const int whole = size <= DL_GN_JOB || (size <= DL_GN_IMAGE && m->n >= DL_GN_FEW);
    m->width = m->cols * dl_max(1, DL_GN_WIDTH / m->cols);
    m->stride = dl_round_up(m->width, 16);
    m->wide = size / m->width;
    m->rest = size - m->wide * m->width;
    m->block = dl_max(4, dl_min(64, DL_GN_BLOCK / m->width));
    m->chunk = dl_max(1, m->wide);
    if (!whole)
        m->chunk = dl_round_up(dl_max(dl_ceil_div(DL_GN_JOB, m->width), dl_ceil_div(m->wide, DL_GN_JOBS)), m->block);
    m->chunks = dl_max(1, dl_ceil_div(m->wide, m->chunk));
    m->images = whole ? dl_max(dl_ceil_div(DL_GN_JOB, dl_max(size, 1)), dl_ceil_div(m->n, DL_GN_JOBS)) : 1;
    m->jobs = dl_ceil_div(m->n, m->images) * m->chunks;
    const long found = DL_GN_FOUND(m), room = DL_GN_ROWS * m->stride * item;
    const long cut = whole ? 0 : (m->n * m->chunks * found + m->n * 2 * m->cols);
    m->partial = (double *)dl_scratch(DL_SCRATCH_SHARED, sizeof(double) * (cut + m->jobs * (2 * m->cols + found)) +
                                                             (size_t)(m->jobs * room) + 64);
    if (!m->partial) return -1;
    m->job_sums = m->partial + cut;
    m->found = m->job_sums + m->jobs * 2 * m->cols;
    m->rooms = (char *)(m->found + m->jobs * found);
    return 0;
}

static int dl_gn_forward(dl_group_norm *m) {
    if (dl_gn_plan(m)) return -1;
    dl_parallel_for(DL_PICK(dl_gn_moments_jobs, m->dtype), m, m->jobs);
    if (m->chunks == 1) return 0;
    for (long image = 0; image < m->n; image++)
        dl_gn_settle(m, image, m->partial + image * m->chunks * (2 * m->groups + 1));
    dl_parallel_for(DL_PICK(dl_gn_apply_jobs, m->dtype), m, m->jobs);
    return 0;
}

/* dx where there is room for it, and sums. */
static int dl_gn_backward(dl_group_norm *m) {
    const long width = 2 * m->cols;
    if (dl_gn_plan(m)) return -1;
    dl_parallel_for(DL_PICK(dl_gn_sums_jobs, m->dtype), m, m->jobs);
    memset(m->sums, 0, sizeof(double) * width);
    if (m->chunks == 1) {
        for (long job = 0; job < m->jobs; job++)
            for (long c = 0; c < width; c++)
                m->sums[c] += m->job_sums[job * width + c];
        return 0;
    }
    double *of_images = m->partial + m->n * m->chunks * DL_GN_FOUND(m);
    memset(of_images, 0, sizeof(double) * m->n * width);
    for (long image = 0; image < m->n; image++) {
        for (long chunk = 0; chunk < m->chunks; chunk++)
            for (long c = 0; c < width; c++)
                of_images[image * width + c] += m->partial[(image * m->chunks + chunk) * width + c];
        dl_gn_add(m, image, of_images + image * width, m->sums);
    }
    if (m->out) dl_parallel_for(DL_PICK(dl_gn_back_jobs, m->dtype), m, m->jobs);
    return 0;
}
#endif
