/* The jobs of winograd.h. */
#define NR (2 * LANES)

/* fn(..., 4), or 3 or 2, for the `side` of the tiles, so that a copy of fn is compiled for each. */
#define BY_SIDE(side, fn, ...)             \
    do {                                   \
        if ((side) == 4)                   \
            DL_FN(fn)(__VA_ARGS__, 4);     \
        else if ((side) == 3)              \
            DL_FN(fn)(__VA_ARGS__, 3);     \
        else                               \
            DL_FN(fn)(__VA_ARGS__, 2);     \
    } while (0)

/* U = G g G^T for n kernels: tap (r, s) at g + (r taps + s) n, point (i, j) at u + (6 i + j) plane. */
DL_INLINE void DL_FN(filter_points)(const real *g, long n, real *u, long plane, const int side) {
    const int taps = 7 - side;
    for (long i = 0; i < n; i += LANES) {
        vec column[5], middle[6][5], out[6];
        DL_UNROLL for (int s = 0; s < taps; s++) {
            DL_UNROLL for (int r = 0; r < taps; r++) column[r] = DL_FN(vload)(g + (r * taps + s) * n + i);
            DL_FN(filter)(column, taps, out);
            DL_UNROLL for (int r = 0; r < 6; r++) middle[r][s] = out[r];
        }
        DL_UNROLL for (int r = 0; r < 6; r++) {
            DL_FN(filter)(middle[r], taps, out);
            DL_UNROLL for (int s = 0; s < 6; s++) DL_FN(vstore)(u + (r * 6 + s) * plane + i, out[s]);
        }
    }
}

/* Notes in *strange a sum of products with 0 that is not 0. */
DL_INLINE void DL_FN(note_strange)(vec check, int *strange) {
    if (!(DL_FN(vsum)(check) == 0)) *strange = 1;
}

/* U = G g G^T of NR columns from col on, `count` rows from k0 on, to u[point][row][column]: a point every `plane`
   elements.  g is room for count NR elements of each tap. */
DL_NOINLINE void DL_FN(winograd_filter)(const dl_winograd *p, long k0, long count, long col, real *g, real *u,
                                        long plane) {
    const long taps = dl_kernel_taps(&p->in), tap = dl_max(p->stride_k, p->stride_col) / taps;
    for (long i = 0; i < taps; i++)
        DL_FN(pack_panel)(count, NR, dl_min(NR, p->cols - col),
                          (const real *)p->weight + (p->flip ? taps - 1 - i : i) * tap + k0 * p->stride_k +
                              col * p->stride_col,
                          p->stride_col, p->stride_k, g + i * count * NR);
    BY_SIDE(p->in.side, filter_points, g, count * NR, u, plane);
    vec check = DL_FN(vsplat)(0);
    for (long i = 0; i < count * NR; i += LANES) /* point (1, 1) is the sum of all taps */
        check += DL_FN(vload)(u + 7 * plane + i) * 0;
    DL_FN(note_strange)(check, p->strange);
}

/* Job: some rows of one panel of U. */
static void DL_FN(winograd_weight_job)(void *ctx, long job, long worker) {
    const dl_winograd *p = (const dl_winograd *)ctx;
    const long chunks = dl_ceil_div(p->depth, DL_WINOGRAD_CHUNK), col = job / chunks * NR;
    const long k0 = job % chunks * DL_WINOGRAD_CHUNK, count = dl_min(DL_WINOGRAD_CHUNK, p->depth - k0);
    const long part = k0 / p->kc, block = col / p->width, kc = dl_min(p->kc, p->depth - part * p->kc);
    const long taps = dl_kernel_taps(&p->in);
    real *g = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * taps * DL_WINOGRAD_CHUNK * NR);
    if (!g) return;
    real *to = (real *)p->u + (block * p->parts + part) * 36 * p->plane;
    DL_FN(winograd_filter)(p, k0, count, col, g, to + col % p->width * kc + k0 % p->kc * NR, p->plane);
    (void)worker;
}

/* 0 for the registers of channels from n on, up to ld. */
static void DL_FN(pad_channels)(real *to, long plane, long n, long ld) {
    for (long c = dl_round_up(n, LANES); c < ld; c += LANES)
        for (int point = 0; point < 36; point++)
            DL_FN(vstore)(to + point * plane + c, DL_FN(vsplat)(0));
}

/* V = B^T d B for `count` tiles and n channels from c0 on: v[point][place of the tile][channel], channels padded to
   ld: in their last register with anything, then with 0.  `zeros` stands for rows outside the image. */
DL_NOINLINE void DL_FN(winograd_data)(const dl_tiles *g, const dl_order *order, long first, long count, long c0, long n,
                                      real *zeros, real *v, long plane, long ld) {
    for (long t = 0; t < count; t++) {
        const DL_FN(place) at = DL_FN(find_tile)(g, first + t, 6, c0, zeros);
        if (t + 1 < count) {
            const DL_FN(place) next = DL_FN(find_tile)(g, first + t + 1, 6, c0, zeros);
            DL_FN(fetch_tile)(&next, 6, zeros, next.low ? next.low : 6 - g->side, next.high, n); /* others are shared */
        }
        real *to = v + order->place[t] * ld;
        const long read = dl_channels_read(g, first + t, n, LANES);
        DL_BY_KIND(dl_tile_kind(g, first + t), DL_FN(data_points), read, &at, to, plane)
        DL_FN(pad_channels)(to, plane, n, ld);
    }
}

/* Z = A dZ A^T likewise, of tiles of pixels or 2 x 2 windows. */
DL_NOINLINE void DL_FN(winograd_gradient)(const dl_tiles *g, const dl_order *order, long first, long count, long c0,
                                          long n, real *zeros, real *z, long plane, long ld) {
    for (long t = 0; t < count; t++) {
        real *to = z + order->place[t] * ld;
        if (g->index) {
            const DL_FN(windows) at = DL_FN(find_windows)(g, first + t, c0);
            if (t + 1 < count) {
                const DL_FN(windows) next = DL_FN(find_windows)(g, first + t + 1, c0);
                DL_FN(fetch_windows)(g, &next, n);
            }
            DL_BY_KIND(dl_tile_kind(g, first + t), DL_FN(gradient_windows), n, g, &at, to, plane)
        } else {
            const DL_FN(place) at = DL_FN(find_tile)(g, first + t, (int)g->side, c0, zeros);
            if (t + 1 < count) {
                const DL_FN(place) next = DL_FN(find_tile)(g, first + t + 1, (int)g->side, c0, zeros);
                DL_FN(fetch_tile)(&next, (int)g->side, zeros, 0, next.high, n);
            }
            const long read = dl_channels_read(g, first + t, n, LANES);
            DL_BY_SIDE(g, first + t, DL_FN(gradient_points), read, &at, to, plane)
        }
        DL_FN(pad_channels)(to, plane, n, ld);
    }
}

/* Y = act(A^T M A + bias) for `count` tiles and `width` columns from col on, cut at the edges of the image. */
DL_NOINLINE void DL_FN(winograd_output)(const dl_winograd *p, const dl_order *order, long first, long count, long col,
                                        long width, const real *m, long plane) {
    const long size = p->index ? 2 : 1, side = p->in.side / size; /* in windows */
    const long out_h = p->in.p / size, out_w = p->in.q / size, row = out_w * p->cols;
    const long valid = dl_min(width, p->cols - col);
    vec check = DL_FN(vsplat)(0);
    for (long t = first; t < first + count; t++) {
        const long w = t % p->in.grid_w * side, h = t / p->in.grid_w % p->in.grid_h * side;
        const long at = ((t / (p->in.grid_w * p->in.grid_h) * out_h + h) * out_w + w) * p->cols + col;
        const DL_FN(target) to = {.y = (real *)p->out + at,
                                  .index = p->index ? p->index + at : NULL,
                                  .bias = p->bias ? (const real *)p->bias + col : NULL,
                                  .row = row,
                                  .column = p->cols,
                                  .rows = dl_min(side, out_h - h),
                                  .cols = dl_min(side, out_w - w),
                                  .relu = p->activation == DL_RELU,
                                  .check = &check};
        const real *from = m + order->place[t - first] * width;
        if (p->index)
            DL_BY_KIND(dl_tile_kind(&p->in, t), DL_FN(output_windows), valid, &to, from, plane)
        else
            DL_BY_SIDE(&p->in, t, DL_FN(output_pixels), valid, &to, from, plane)
        for (long i = 0; i < to.rows && p->activation > DL_RELU; i++)
            DL_FN(activate_block)(to.y + i * row, p->cols, to.cols, valid, p->activation);
        for (long i = 0; i < to.rows && p->finish; i++)
            DL_FN(finish_rows)(p->finish, to.y + i * row, p->cols, to.cols, col, valid);
    }
    DL_FN(note_strange)(check, p->strange);
}

/* Job: a block of tiles, all of the columns or one of `splits` parts of them.  Tiles of the register run past the last
   place: behind it is room for them. */
static void DL_FN(winograd_tile_job)(void *ctx, long job, long worker) {
    const dl_winograd *p = (const dl_winograd *)ctx;
    const long first = job % p->blocks * p->block, count = dl_min(p->block, p->tiles - first), room = p->block + DL_MR;
    const long ld = dl_round_up(p->depth, LANES), v_plane = dl_winograd_plane(room * ld, sizeof(real));
    const long m_plane = dl_winograd_plane(room * p->width, sizeof(real)), bytes = dl_order_bytes(p->block);
    const long zero = 6 * p->in.c + LANES;
    dl_order *order = (dl_order *)dl_scratch(
        DL_SCRATCH_JOB, bytes + sizeof(real) * (36 * (v_plane + m_plane) + zero));
    if (!order) return;
    real *v = (real *)((char *)order + bytes), *m = v + 36 * v_plane, *zeros = m + 36 * m_plane;
    memset(zeros, 0, sizeof(real) * zero);
    dl_order_tiles(&p->in, first, count, order);
    DL_FN(winograd_data)(&p->in, order, first, count, 0, p->depth, zeros, v, v_plane, ld);
    const long each = dl_ceil_div(dl_ceil_div(p->npad, p->width), p->splits) * p->width;
    const long begin = job / p->blocks * each;
    for (long col = begin; col < dl_min(begin + each, p->npad); col += p->width) {
        const long width = dl_min(p->width, p->npad - col);
        const real *u = (const real *)p->u + col / p->width * p->parts * 36 * p->plane;
        long k = 0;
        do { /* once even without channels: a sum of nothing is 0 */
            const long kc = dl_min(p->kc, p->depth - k);
            for (long point = 0; point < 36; point++, u += p->plane)
                for (long j = 0; j < width; j += NR)
                    for (long i = dl_first_place(order, point); i < dl_last_place(order, point); i += DL_MR) {
                        real *c = m + point * m_plane + i * width + j;
                        DL_FN(tile_rows)(kc, v + point * v_plane + i * ld + k, ld, u + j * kc, NR, c, width,
                                         k ? c : NULL, width, 0);
                    }
            k += p->kc;
        } while (k < p->depth);
        DL_FN(winograd_output)(p, order, first, count, col, width, m, m_plane);
    }
    (void)worker;
}

/* The numbers of `count` lanes, `step` apart. */
DL_INLINE void DL_FN(scatter)(real *to, long step, vec value, long count) {
    real part[LANES];
    DL_FN(vstore)(part, value);
    for (long i = 0; i < count; i++)
        to[i * step] = part[i];
}

/* dg = G^T dU G, and whether it is finite: element (i, j) of dU, i < rows, j < cols, is at tap (r, s) of g + i row_step + j col_step, where taps
   are `channels` apart; one of the steps is 1. */
DL_INLINE void DL_FN(kernel_taps)(const real *du, long plane, long ld, real *dg, long rows, long cols, long row_step,
                                  long col_step, long channels, int *strange, const int side) {
    const int taps = 7 - side;
    vec check = DL_FN(vsplat)(0);
    for (long k = 0; k < rows; k++, du += ld, dg += row_step)
        for (long c = 0; c < cols; c += LANES) {
            vec in[6], out[5], middle[5][6];
            for (int j = 0; j < 6; j++) {
                DL_UNROLL for (int i = 0; i < 6; i++) in[i] = DL_FN(vload)(du + (i * 6 + j) * plane + c);
                DL_FN(filter_transposed)(in, taps, out);
                DL_UNROLL for (int i = 0; i < taps; i++) middle[i][j] = out[i];
            }
            for (int r = 0; r < taps; r++) {
                DL_FN(filter_transposed)(middle[r], taps, out);
                for (int s = 0; s < taps; s++) {
                    real *tap = dg + (r * taps + s) * channels;
                    check += out[s] * 0;
                    if (col_step == 1)
                        DL_FN(vstore_n)(tap + c, out[s], cols - c);
                    else
                        DL_FN(scatter)(tap + c * col_step, col_step, out[s], dl_min(cols - c, LANES));
                }
            }
        }
    DL_FN(note_strange)(check, strange);
}
DL_NOINLINE void DL_FN(winograd_kernels)(const real *du, long plane, long ld, real *dg, long rows, long cols,
                                         long row_step, long col_step, long channels, long side, int *strange) {
    BY_SIDE(side, kernel_taps, du, plane, ld, dg, rows, cols, row_step, col_step, channels, strange);
}

/* dU (rows, b_ld) = or += A^T B of a block of tiles, for each point. */
DL_NOINLINE void DL_FN(winograd_products)(const dl_order *order, long point, const real *a, long a_ld, const real *b,
                                          long b_ld, long rows, real *du, int first) {
    const long begin = dl_first_place(order, point), count = dl_last_place(order, point) - begin;
    for (long j = 0; j < b_ld; j += NR)
        for (long i = 0; i < rows; i += DL_MR) {
            real *c = du + i * b_ld + j;
            DL_FN(tile_panel)(count, a + begin * a_ld + i, a_ld, b + begin * b_ld + j, b_ld, c, b_ld, first ? NULL : c,
                              b_ld, 0);
        }
}

/* Job: the partial dg of one chunk of tiles, for a block of output channels and one of input channels.  dU is Z^T V, or
   its transpose V^T Z if that fills more of the register tiles: few channels would be a part of a row of registers. */
static void DL_FN(winograd_gradient_job)(void *ctx, long job, long worker) {
    const dl_winograd_gradient *p = (const dl_winograd_gradient *)ctx;
    const long chunk = job / (p->k_blocks * p->c_blocks), k0 = job / p->c_blocks % p->k_blocks * p->k,
               c0 = job % p->c_blocks * p->c;
    const long kernels = dl_min(p->k, p->dz.c - k0), channels = dl_min(p->c, p->x.c - c0);
    const int turned = dl_round_up(channels, DL_MR) * dl_round_up(kernels, NR) <
                       dl_round_up(kernels, DL_MR) * dl_round_up(channels, NR);
    const long rows = dl_round_up(turned ? channels : kernels, DL_MR), a_ld = dl_round_up(rows, LANES),
               b_ld = dl_round_up(turned ? kernels : channels, NR), v_ld = turned ? a_ld : b_ld,
               z_ld = turned ? b_ld : a_ld;
    const long v_plane = dl_winograd_plane(p->block * v_ld, sizeof(real)),
               z_plane = dl_winograd_plane(p->block * z_ld, sizeof(real)),
               u_plane = dl_winograd_plane(rows * b_ld, sizeof(real)), zero = 6 * dl_max(p->x.c, p->dz.c) + LANES;
    const long bytes = dl_order_bytes(p->block);
    dl_order *order = (dl_order *)dl_scratch(
        DL_SCRATCH_JOB, bytes + sizeof(real) * (36 * (v_plane + z_plane + u_plane) + zero));
    if (!order) return;
    real *v = (real *)((char *)order + bytes), *z = v + 36 * v_plane, *du = z + 36 * z_plane;
    real *zeros = du + 36 * u_plane;
    memset(zeros, 0, sizeof(real) * zero);
    if (!p->tiles) memset(du, 0, sizeof(real) * 36 * u_plane);
    for (long first = chunk * p->chunk; first < dl_min((chunk + 1) * p->chunk, p->tiles); first += p->block) {
        const long count = dl_min(p->block, p->tiles - first);
        dl_order_tiles(&p->x, first, count, order);
        DL_FN(winograd_data)(&p->x, order, first, count, c0, channels, zeros, v, v_plane, v_ld);
        DL_FN(winograd_gradient)(&p->dz, order, first, count, k0, kernels, zeros, z, z_plane, z_ld);
        for (long point = 0; point < 36; point++) {
            const real *vp = v + point * v_plane, *zp = z + point * z_plane;
            DL_FN(winograd_products)(order, point, turned ? vp : zp, a_ld, turned ? zp : vp, b_ld, rows,
                                     du + point * u_plane, first == chunk * p->chunk);
        }
    }
    real *dg = (real *)p->sum.partial + (chunk * p->dz.c + k0) * p->sum.width + c0;
    if (turned)
        DL_FN(winograd_kernels)(du, u_plane, b_ld, dg, channels, kernels, 1, p->sum.width, p->x.c, p->x.side,
                                p->strange);
    else
        DL_FN(winograd_kernels)(du, u_plane, b_ld, dg, kernels, channels, p->sum.width, 1, p->x.c, p->x.side,
                                p->strange);
    (void)worker;
}
#undef BY_SIDE
#undef NR
