/* The jobs of brgemm.h. */

/* Where register j of a panel of `registers` from output `col` on begins: the last lies across the one before. */
DL_INLINE long DL_FN(brgemm_column)(const dl_brgemm *g, long col, long j) {
    return dl_max(0, dl_min(col + j * LANES, g->cols - LANES));
}

/* to (count rows, `step` apart) = one register of columns of B, of which `valid` exist. */
DL_NOINLINE void DL_FN(brgemm_pack)(const real *from, long row_stride, long col_stride, long count, long valid, real *to,
                                    long step) {
    long k = 0;
    if (col_stride == 1) {
        for (; k < count; k++)
            DL_FN(vstore)(to + k * step, DL_FN(vload_n)(from + k * row_stride, valid));
        return;
    }
#if DL_VECTORS
    if (row_stride == 1) k = DL_FN(pack_transposed)(count, step, valid, from, col_stride, to);
#endif
    for (; k < count; k++)
        for (long i = 0; i < LANES; i++)
            to[k * step + i] = i < valid ? from[k * row_stride + i * col_stride] : 0;
}

/* Rows `row` to `end` of one panel of one group, and its bias. */
DL_NOINLINE void DL_FN(brgemm_pack_panel)(const dl_brgemm *g, long group, long panel, long row, long end) {
    const long col = 2 * panel * LANES, start = group * g->registers * LANES;
    const long registers = panel == g->panels - 1 ? g->registers - 2 * panel : 2, step = registers * LANES;
    const real *weight = (const real *)g->weight + group * g->group_stride;
    real *packed = (real *)g->packed + (start + col) * g->depth, *bias = (real *)g->packed_bias + start + col;
    for (long count; row < end; row += count) {
        const long tap = row / g->run;
        count = g->run - row % g->run;
        for (long t = tap + 1; row + count < end && g->from[t] == g->from[t - 1] + g->run * g->row_stride; t++)
            count += g->run;
        count = dl_min(count, end - row);
        for (long j = 0; j < registers; j++) {
            const long at = DL_FN(brgemm_column)(g, col, j);
            DL_FN(brgemm_pack)(weight + g->from[tap] + row % g->run * g->row_stride + at * g->col_stride, g->row_stride,
                               g->col_stride, count, g->cols - at, packed + row * step + j * LANES, step);
        }
    }
    for (long j = 0; g->bias && j < registers; j++) {
        const long at = DL_FN(brgemm_column)(g, col, j);
        DL_FN(vstore)(bias + j * LANES, DL_FN(vload_n)((const real *)g->bias + group * g->cols + at, g->cols - at));
    }
}

/* Job: the same for one panel of all plans. */
static void DL_FN(brgemm_pack_job)(void *ctx, long job, long worker) {
    const dl_brgemm *g = (const dl_brgemm *)ctx;
    while (job >= g->packings)
        g++;
    job -= g->packings - g->groups * g->panels;
    DL_FN(brgemm_pack_panel)(g, job / g->panels, job % g->panels, 0, g->depth);
    (void)worker;
}

/* The image rows, with their padding, that outputs (i, j) to (i + rows, j + wide) of an image read. */
DL_NOINLINE void DL_FN(brgemm_fetch)(const dl_brgemm *g, long image, long i, long rows, long j, real *out) {
    const long height = (rows - 1) * g->step_h + g->reach_h, start = (j * g->step_w - g->left) * g->c;
    const long width = g->w * g->c, left = dl_min(dl_max(-start, 0), g->line);
    const long count = dl_max(0, dl_min(width - dl_max(start, 0), g->line - left));
    for (long y = 0, h = i * g->step_h - g->top; y < height; y++, h++, out += g->line) {
        const long valid = h >= 0 && h < g->h ? count : 0;
        DL_FN(zero_run)(out, left);
        if (valid) DL_FN(copy_run)(out + left, (const real *)g->src + (image * g->h + h) * width + left + start, valid);
        DL_FN(zero_run)(out + left + valid, g->line - left - valid);
    }
}

/* The pixels of `lines` lines of outputs from `first` of all images on, columns j to j + wide; their image rows are
   fetched to `rows` unless they are read in place.  Returns what the pixels' offsets count from. */
DL_NOINLINE const real *DL_FN(brgemm_pixels_of)(const dl_brgemm *g, long first, long lines, long j, long wide,
                                                dl_pixel *pixel, real *rows) {
    long base = 0;
    for (long line = first, here; line < first + lines; line += here) {
        const long image = line / g->grid_h, i0 = line % g->grid_h;
        here = dl_min(first + lines - line, g->grid_h - i0);
        if (g->in_place)
            base = ((image * g->h + i0 * g->step_h - g->top) * g->w + j * g->step_w - g->left) * g->c;
        else
            DL_FN(brgemm_fetch)(g, image, i0, here, j, rows + base);
        for (long i = 0; i < here; i++) {
            const long to = g->out_at + image * g->out_n + (i0 + i) * g->out_h + j * g->out_w;
            const long at = base + i * g->step_h * g->line;
            for (long q = 0; q < wide; q++)
                *pixel++ = (dl_pixel){at + q * g->step_w * g->c, to + q * g->out_w};
        }
        base += ((here - 1) * g->step_h + g->reach_h) * g->line;
    }
    return g->in_place ? (const real *)g->src : rows;
}

/* One panel: all pixels, block by block of the depth. */
DL_NOINLINE void DL_FN(brgemm_panel)(const dl_brgemm *g, long group, long panel, const real *a, const dl_pixel *pixel,
                                     long pixels, real *end) {
    const long col = 2 * panel * LANES, at = group * g->registers * LANES;
    const long registers = panel == g->panels - 1 ? g->registers - 2 * panel : 2, step = registers * LANES;
    const real *b = (const real *)g->packed + at * g->depth + col * g->depth;
    const real *bias = g->bias ? (const real *)g->packed_bias + at + col : NULL;
    real *c = (real *)g->out + group * g->cols + col;
    a += group * g->run;
    dl_panel p = {.b = b,
                  .part = g->cols < LANES ? g->cols : 0,
                  .last = DL_FN(brgemm_column)(g, col, registers - 1) - col,
                  .spill = g->spills ? end : NULL,
                  .stream = g->stream};
    for (long block = 0; block < g->blocks; block++) {
        const int final = block == g->blocks - 1;
        const long row = block * g->kc, stop = dl_min(row + g->kc, g->depth), ahead = g->packs ? 0 : g->kc * step;
        if (g->packs) DL_FN(brgemm_pack_panel)(g, group, panel, row, stop);
        p.run = g->runs + g->begin[block];
        p.end = g->runs + g->begin[block + 1];
        p.first = !block;
        p.bias = final ? bias : NULL;
        p.relu = final && g->activation == DL_RELU;
        if (registers == 1)
            DL_FN(brgemm_pixels)(1, &p, a, pixel, pixels, c, b + stop * step, ahead);
        else if (registers == 2)
            DL_FN(brgemm_pixels)(2, &p, a, pixel, pixels, c, b + stop * step, ahead);
        else
            DL_FN(brgemm_pixels)(3, &p, a, pixel, pixels, c, b + stop * step, ahead);
    }
}

/* The means of the windows of a (rows, grid_w, cols), to `line` and following of (lines, grid_w / width, cols); sums are
   those of avg_pool2d. */
DL_INLINE void DL_FN(mean_windows)(const dl_brgemm *g, const long height, const long width, const real *a, long rows,
                                   long line) {
    const long k = g->cols, row = g->grid_w * k, across = g->grid_w / width;
    const vec share = DL_FN(vsplat)(1 / (real)(height * width));
    real *y = (real *)g->means + line * across * k;
    for (long p = 0; p < rows / height; p++, a += height * row)
        for (long q = 0; q < across; q++, y += k)
            for (long c = 0; c < k; c += LANES) {
                vec sum = DL_FN(vsplat)(0);
                for (long s = 0; s < width; s++) {
                    const real *cell = a + (q * width + s) * k;
                    vec column = DL_FN(vload_n)(cell + c, k - c);
                    for (long r = 1; r < height; r++)
                        column += DL_FN(vload_n)(cell + r * row + c, k - c);
                    sum += column;
                }
                DL_FN(vstore_n)(y + c, sum * share, k - c);
            }
}
DL_NOINLINE void DL_FN(mean_rows)(const dl_brgemm *g, const real *a, long rows, long line) {
    if (g->pool_h == 2 && g->pool_w == 2)
        DL_FN(mean_windows)(g, 2, 2, a, rows, line);
    else
        DL_FN(mean_windows)(g, g->pool_h, g->pool_w, a, rows, line);
}

/* Job: a block of pixels and a range of panels of each group. */
static void DL_FN(brgemm_job)(void *ctx, long job, long worker) {
    const dl_brgemm *g = (const dl_brgemm *)ctx;
    while (job >= g->jobs)
        g++;
    job -= g->jobs - g->row_blocks * g->col_blocks * g->splits;
    const long split = job % g->splits, cell = job / g->splits;
    const long blocks = dl_ceil_div(g->span, g->rows), block = cell / g->col_blocks, from = block % blocks * g->rows;
    const long first = block / blocks * g->span + from, lines = dl_min(g->rows, g->span - from);
    const long j = cell % g->col_blocks * g->wide, wide = dl_min(g->wide, g->grid_w - j), pixels = lines * wide;
    const long begin = split * g->panels / g->splits, end = (split + 1) * g->panels / g->splits;
    const long images = (lines - 1) / g->grid_h + 2;
    const long held = g->in_place ? 0 : (lines * g->step_h + images * g->reach_h) * g->line;
    const long listed = dl_round_up(pixels * (long)sizeof(dl_pixel), 64);
    char *room = (char *)dl_scratch(DL_SCRATCH_JOB, listed + sizeof(real) * (held + LANES));
    if (!room) return;
    dl_pixel *pixel = (dl_pixel *)room;
    const real *a = DL_FN(brgemm_pixels_of)(g, first, lines, j, wide, pixel, (real *)(room + listed));
    real *stop = (real *)g->out + pixel[pixels - 1].to + g->out_w;
    for (long group = 0; group < g->groups; group++) {
        const long at = 2 * begin * LANES, cols = (end == g->panels ? g->cols : 2 * end * LANES) - at;
        const long col = group * g->cols + at;
        for (long panel = begin; panel < end; panel++)
            DL_FN(brgemm_panel)(g, group, panel, a, pixel, pixels, stop);
        for (long i = 0; i < lines; i++) {
            real *y = (real *)g->out + pixel[i * wide].to + col;
            if (g->activation > DL_RELU) DL_FN(activate_block)(y, g->out_w, wide, cols, g->activation);
            if (g->finish) DL_FN(finish_rows)(g->finish, y, g->out_w, wide, col, cols);
        }
    }
    if (g->means)
        DL_FN(mean_rows)(g, (const real *)g->out + pixel->to, lines,
                         first / g->grid_h * (g->grid_h / g->pool_h) + from / g->pool_h);
    if (g->stream) dl_fence();
    (void)worker;
}
