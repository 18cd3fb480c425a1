/* The jobs of conv.h. */
#define NR (2 * LANES)

DL_INLINE void DL_FN(copy_run)(real *DL_R to, const real *DL_R from, long n) {
    long i = 0;
    if (n >= LANES && n <= 2 * LANES) { /* two overlapping registers; the loop below may become a call */
        DL_FN(vstore)(to, DL_FN(vload)(from));
        DL_FN(vstore)(to + n - LANES, DL_FN(vload)(from + n - LANES));
        return;
    }
    if (n >= LANES) {
        for (; i + LANES <= n; i += LANES)
            DL_FN(vstore)(to + i, DL_FN(vload)(from + i));
        if (i < n) DL_FN(vstore)(to + n - LANES, DL_FN(vload)(from + n - LANES)); /* overlaps what is there already */
        return;
    }
    for (; i < n; i++)
        to[i] = from[i];
}
DL_INLINE void DL_FN(zero_run)(real *to, long n) {
    for (long i = 0; i < n; i++)
        to[i] = 0;
}

/* The pixels of one segment around source row y, from column x on; 0 outside the image. */
DL_INLINE void DL_FN(gather_segment)(const dl_patches *g, const real *image, long y, long x, long pixels, real *out) {
    const long run = g->run;
    if (y < 0 || y >= g->h) {
        DL_FN(zero_run)(out, pixels * run);
        return;
    }
    const long begin = dl_min(dl_max(-x, 0), pixels), end = dl_max(dl_min(g->w - x, pixels), begin);
    if (begin) DL_FN(zero_run)(out, begin * run);
    DL_FN(copy_run)(out + begin * run, image + (y * g->w + x + begin) * g->c, (end - begin) * run);
    if (end < pixels) DL_FN(zero_run)(out + end * run, (pixels - end) * run);
}

/* A block of taps of `count` grid points from `first` on, a row each, ld apart: channels from c0. */
DL_NOINLINE void DL_FN(gather)(const dl_patches *g, long first, long count, long block, long c0, real *out, long ld) {
    const long s0 = g->begin[block], s1 = g->begin[block + 1];
    long j = first % g->grid_w, i = first / g->grid_w % g->grid_h;
    const real *image = (const real *)g->src + first / (g->grid_w * g->grid_h) * g->h * g->w * g->c + c0;
    for (; count; count--, out += ld) {
        real *to = out;
        for (long s = s0; s < s1; s++) {
            const dl_segment *segment = g->segment + s;
            DL_FN(gather_segment)(g, image, i * g->step_h + segment->dy, j * g->step_w + segment->dx, segment->pixels,
                                  to);
            to += segment->pixels * g->run;
        }
        DL_FN(zero_run)(to, out + ld - to);
        if (++j < g->grid_w) continue;
        j = 0;
        if (++i < g->grid_h) continue;
        i = 0;
        image += g->h * g->w * g->c;
    }
}

/* Job: packs one k block (a part of a block of taps) of one group's weights into panels; row k of B is at
   weight[row[k]], its columns col_stride apart. */
static void DL_FN(conv_pack_job)(void *ctx, long job, long worker) {
    const dl_product *p = (const dl_product *)ctx;
    const long part = job % p->parts, block = job / p->parts % p->patches.blocks;
    const long group = job / p->parts / p->patches.blocks, k0 = block * p->step + part * p->o.kc;
    const long kc = dl_min(p->o.kc, dl_min((block + 1) * p->step, p->o.k) - k0);
    const real *weight = (const real *)p->weight + group * p->group_stride;
    real *to = (real *)p->packed + group * p->o.npad * p->o.k + k0 * p->o.npad;
    for (long j = 0; j < p->o.npad; j += NR, to += kc * NR) {
        const long cols = dl_min(NR, p->cols - j);
        if (!p->row) {
            DL_FN(pack_panel)(kc, NR, cols, weight + k0 + j * p->col_stride, p->col_stride, 1, to);
            continue;
        }
        for (long k = 0; k < kc; k++)
            for (long i = 0; i < NR; i++)
                to[k * NR + i] = i < cols ? weight[p->row[k0 + k] + (j + i) * p->col_stride] : 0;
    }
    (void)worker;
}

/* Finished rows of a phase go to every step-th pixel of the output. */
static void DL_FN(scatter_rows)(const dl_product *p, const real *rows, long first, long count, long group) {
    const dl_patches *g = &p->patches;
    for (long x = first; x < first + count; x++, rows += p->cols) {
        const long j = x % g->grid_w * p->out_step_w + p->out_x,
                   i = x / g->grid_w % g->grid_h * p->out_step_h + p->out_y;
        const long image = x / (g->grid_w * g->grid_h);
        DL_FN(copy_run)((real *)p->out + ((image * p->out_h + i) * p->out_w + j) * p->out_c + group * p->cols, rows,
                        p->cols);
    }
}

/* Job: patches of a block of grid points, times each group's weights. */
static void DL_FN(conv_product_job)(void *ctx, long job, long worker) {
    const dl_product *p = (const dl_product *)ctx;
    const dl_patches *g = &p->patches;
    const long blocks = dl_ceil_div(p->points, p->block), first = job % blocks * p->block;
    const long count = dl_min(p->block, p->points - first);
    const long col = job / blocks * p->width, cols = dl_min(p->width, p->cols - col);
    real *patches = p->direct ? NULL : (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * p->block * p->ld);
    real *rows = p->spread ? (real *)dl_scratch(DL_SCRATCH_EXTRA, sizeof(real) * p->block * p->cols) : NULL;
    if ((!p->direct && !patches) || (p->spread && !rows)) return;
    for (long group = 0; group < p->groups; group++) {
        dl_operands o = p->o;
        o.b = o.bn ? (const real *)p->weight + group * p->group_stride
                   : (const real *)p->packed + group * o.npad * o.k;
        o.bias = o.bias ? (const real *)o.bias + group * o.npad : NULL;
        o.ars = p->direct ? g->c : p->ld;
        const real *a = p->direct ? (const real *)g->src + first * g->c + group * g->run : patches;
        real *c = rows ? rows : (real *)p->out + first * p->out_c + group * p->cols + col;
        const long ldc = rows ? p->cols : p->out_c;
        for (long block = 0; block < dl_max(g->blocks, 1); block++) { /* none: y is the bias */
            const long k = block * p->step, end = dl_min(k + p->step, o.k);
            if (!p->direct && end > k) DL_FN(gather)(g, first, count, block, group * g->run, patches, p->ld);
            DL_FN(gemm_block)(&o, a - (p->direct ? 0 : k), count, col, cols, k, end, c, ldc, block > 0);
        }
        if (p->finish) DL_FN(finish_rows)(p->finish, c, ldc, count, group * p->cols + col, cols);
        if (rows) DL_FN(scatter_rows)(p, rows, first, count, group);
    }
    (void)worker;
}

/* Job: dz^T patches over one chunk of output pixels, for one group and one range of segments. */
static void DL_FN(conv_weight_job)(void *ctx, long job, long worker) {
    const dl_weight_gradient *p = (const dl_weight_gradient *)ctx;
    const dl_patches *g = &p->patches;
    const long range = job % g->blocks, group = job / g->blocks % p->groups, chunk = job / g->blocks / p->groups;
    const long kernels = p->kernels, width = p->width, step = g->most * g->run, col = range * step, ld = p->ld;
    const long n = dl_min(step, width - col), end = dl_min((chunk + 1) * p->chunk, p->points);
    real *patches = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * p->block * ld);
    if (!patches) return;
    real *out = (real *)p->partial + (chunk * p->groups + group) * kernels * width + col;
    for (long first = chunk * p->chunk; first < end; first += p->block) {
        const long count = dl_min(p->block, end - first);
        DL_FN(gather)(g, first, count, range, group * g->run, patches, ld);
        const dl_operands o = {.k = count, .kc = count, .ars = 1, .acs = p->groups * kernels, .ldb = ld, .b = patches};
        const real *dz = (const real *)p->dz + first * o.acs + group * kernels;
        for (long row = 0; row < kernels; row += DL_MC / 2) /* the other half of L2 has the patches */
            DL_FN(gemm_block)(&o, dz + row, dl_min(DL_MC / 2, kernels - row), 0, n, 0, count, out + row * width, width,
                              first > chunk * p->chunk);
    }
    (void)worker;
}

/* Job: a stretch of the gradient, partial sums added in the order of the chunks. */
static void DL_FN(conv_sum_job)(void *ctx, long job, long worker) {
    const dl_weight_gradient *p = (const dl_weight_gradient *)ctx;
    const long size = p->groups * p->kernels * p->width, begin = job * DL_CONV_SUM,
               end = dl_min(begin + DL_CONV_SUM, size);
    real *DL_R out = (real *)p->dweight;
    for (long chunk = 0; chunk < p->chunks; chunk++) {
        const real *DL_R partial = (const real *)p->partial + chunk * size;
        if (!chunk)
            for (long i = begin; i < end; i++)
                out[i] = partial[i];
        else
            for (long i = begin; i < end; i++)
                out[i] += partial[i];
    }
    (void)worker;
}
#undef NR
