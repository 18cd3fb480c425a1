/* The jobs of winograd.h. */
#define NR (2 * LANES)

/* Job: some rows of one panel of U = G g G^T.  Points follow one another in a block of `width` columns and kc rows. */
static void DL_FN(winograd_weight_job)(void *ctx, long job, long worker) {
    const dl_winograd *p = (const dl_winograd *)ctx;
    const long chunks = dl_ceil_div(p->depth, DL_WINOGRAD_CHUNK), col = job / chunks * NR;
    const long k0 = job % chunks * DL_WINOGRAD_CHUNK, count = dl_min(DL_WINOGRAD_CHUNK, p->depth - k0);
    const long tap = p->flip ? p->stride_k / 9 : p->stride_col / 9;
    real *g = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * 9 * DL_WINOGRAD_CHUNK * NR);
    for (long i = 0; i < 9; i++)
        DL_FN(pack_panel)(count, NR, dl_min(NR, p->cols - col),
                          (const real *)p->weight + (p->flip ? 8 - i : i) * tap + k0 * p->stride_k +
                              col * p->stride_col,
                          p->stride_col, p->stride_k, g + i * count * NR);
    const long first = k0 / p->kc * p->kc, kc = dl_min(p->kc, p->depth - first), start = col / p->width * p->width;
    const long width = dl_min(p->width, p->npad - start);
    real *to = (real *)p->u + 36 * (p->depth * start + first * width) + (col - start) * kc + (k0 - first) * NR;
    for (long i = 0; i < count * NR; i += LANES) {
        const real *from = g + i;
        vec middle[3][6], out[6];
        DL_UNROLL for (int s = 0; s < 3; s++)
            DL_FN(filter)(DL_FN(vload)(from + s * count * NR), DL_FN(vload)(from + (3 + s) * count * NR),
                          DL_FN(vload)(from + (6 + s) * count * NR), middle[s]);
        DL_UNROLL for (int r = 0; r < 6; r++) {
            DL_FN(filter)(middle[0][r], middle[1][r], middle[2][r], out);
            DL_UNROLL for (int s = 0; s < 6; s++)
                DL_FN(vstore)(to + i + (r * 6 + s) * kc * width, out[s]);
        }
    }
    (void)worker;
}

/* V = B^T d B for `count` tiles and n channels from c0 on: v[point][tile][channel], channels padded with 0 to ld. */
DL_NOINLINE void DL_FN(winograd_data)(const dl_tiles *g, long first, long count, long c0, long n, real *room, real *v,
                                      long plane, long ld) {
    for (long t = 0; t < count; t++, v += ld) {
        const DL_FN(place) at = DL_FN(find_tile)(g, first + t, 6, c0, n, room);
        long c = 0;
        for (; c + LANES <= n; c += LANES)
            DL_FN(data_points)(&at, c, LANES, v, plane);
        for (; c < ld; c += LANES)
            DL_FN(data_points)(&at, c, dl_min(n - c, LANES - 1), v, plane);
    }
}

/* Z = A dZ A^T likewise, of 4 x 4 tiles. */
DL_NOINLINE void DL_FN(winograd_gradient)(const dl_tiles *g, long first, long count, long c0, long n,
                                          real *room, real *z, long plane, long ld) {
    for (long t = 0; t < count; t++, z += ld) {
        const DL_FN(place) at = DL_FN(find_tile)(g, first + t, 4, c0, n, room);
        long c = 0;
        for (; c + LANES <= n; c += LANES)
            DL_FN(gradient_points)(&at, c, LANES, z, plane);
        for (; c < ld; c += LANES)
            DL_FN(gradient_points)(&at, c, dl_min(n - c, LANES - 1), z, plane);
    }
}

/* Y = act(A^T M A + bias) for `count` tiles and `width` columns from col on, cut at the edges of the image. */
DL_NOINLINE void DL_FN(winograd_output)(const dl_winograd *p, long first, long count, long col, long width,
                                        const real *m, long plane) {
    const real *bias = p->bias ? (const real *)p->bias + col : NULL;
    const long size = p->index ? 2 : 1, side = 4 / size, out_h = p->p / size, out_w = p->q / size; /* in windows */
    const long valid = dl_min(width, p->cols - col), row = out_w * p->cols;
    const int relu = p->activation == DL_RELU;
    for (long t = first; t < first + count; t++, m += width) {
        const long w = t % p->in.grid_w * side, h = t / p->in.grid_w % p->in.grid_h * side;
        const long rows = dl_min(side, out_h - h), cols = dl_min(side, out_w - w);
        const long at = ((t / (p->in.grid_w * p->in.grid_h) * out_h + h) * out_w + w) * p->cols + col;
        real *y = (real *)p->out + at;
        for (long k = 0; k < valid; k += LANES) {
            const vec add = bias ? DL_FN(vload)(bias + k) : DL_FN(vsplat)(0);
            if (p->index)
                DL_FN(output_windows)(m + k, plane, add, relu, y + k, p->index + at + k, row, p->cols, rows, cols,
                                      valid - k);
            else if (k + LANES <= valid)
                DL_FN(output_pixels)(m + k, plane, add, relu, y + k, row, p->cols, rows, cols, LANES);
            else
                DL_FN(output_pixels)(m + k, plane, add, relu, y + k, row, p->cols, rows, cols, valid - k);
        }
        for (long i = 0; i < rows && p->activation > DL_RELU; i++)
            DL_FN(activate_block)(y + i * row, p->cols, cols, valid, p->activation);
    }
}

/* Job: a block of tiles, all of the columns or one of `splits` parts of them. */
static void DL_FN(winograd_tile_job)(void *ctx, long job, long worker) {
    const dl_winograd *p = (const dl_winograd *)ctx;
    const long first = job % p->blocks * p->block, count = dl_min(p->block, p->tiles - first);
    const long ld = dl_round_up(p->depth, LANES), v_plane = dl_winograd_plane(p->block * ld, sizeof(real));
    const long m_plane = dl_winograd_plane(p->block * p->width, sizeof(real));
    real *v = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (36 * (v_plane + m_plane) + 37 * ld));
    real *m = v + 36 * v_plane, *room = m + 36 * m_plane;
    memset(room, 0, sizeof(real) * 6 * p->in.c);
    DL_FN(winograd_data)(&p->in, first, count, 0, p->depth, room, v, v_plane, ld);
    const long each = dl_ceil_div(dl_ceil_div(p->npad, p->width), p->splits) * p->width;
    const long begin = job / p->blocks * each;
    for (long col = begin; col < dl_min(begin + each, p->npad); col += p->width) {
        const long width = dl_min(p->width, p->npad - col);
        const real *u = (const real *)p->u + 36 * p->depth * col;
        long k = 0;
        do { /* once even without channels: a sum of nothing is 0 */
            const long kc = dl_min(p->kc, p->depth - k);
            for (long point = 0; point < 36; point++)
                for (long j = 0; j < width; j += NR, u += kc * NR)
                    for (long i = 0; i < count; i += DL_MR) {
                        real *c = m + point * m_plane + i * width + j;
                        DL_FN(tile_rows)(kc, v + point * v_plane + i * ld + k, ld, u, NR, c, width, k ? c : NULL, width,
                                         0);
                    }
            k += p->kc;
        } while (k < p->depth);
        DL_FN(winograd_output)(p, first, count, col, width, m, m_plane);
    }
    (void)worker;
}

/* dg = G^T dU G for `kernels` kernels (rows of dU) and n of the `channels` of each. */
DL_NOINLINE void DL_FN(winograd_kernels)(const real *du, long plane, long ld, real *dg, long kernels, long n,
                                         long channels) {
    for (long k = 0; k < kernels; k++, du += ld, dg += 9 * channels)
        for (long c = 0; c < n; c += LANES) {
            vec in[6], out[3], middle[3][6];
            for (int j = 0; j < 6; j++) {
                DL_UNROLL for (int i = 0; i < 6; i++) in[i] = DL_FN(vload)(du + (i * 6 + j) * plane + c);
                DL_FN(filter_transposed)(in, out);
                DL_UNROLL for (int i = 0; i < 3; i++) middle[i][j] = out[i];
            }
            for (int r = 0; r < 3; r++) {
                DL_FN(filter_transposed)(middle[r], out);
                DL_UNROLL for (int s = 0; s < 3; s++) DL_STORE(dg + (r * 3 + s) * channels, c, n, out[s]);
            }
        }
}

/* Job: the partial dg of one chunk of tiles, for a block of output channels and one of input channels. */
static void DL_FN(winograd_gradient_job)(void *ctx, long job, long worker) {
    const dl_winograd_gradient *p = (const dl_winograd_gradient *)ctx;
    const long chunk = job / (p->k_blocks * p->c_blocks), k0 = job / p->c_blocks % p->k_blocks * p->k,
               c0 = job % p->c_blocks * p->c;
    const long kernels = dl_min(p->k, p->dz.c - k0), channels = dl_min(p->c, p->x.c - c0);
    const long rows = dl_round_up(kernels, DL_MR), z_ld = dl_round_up(rows, LANES), v_ld = dl_round_up(channels, NR);
    const long v_plane = dl_winograd_plane(p->block * v_ld, sizeof(real)),
               z_plane = dl_winograd_plane(p->block * z_ld, sizeof(real)),
               u_plane = dl_winograd_plane(rows * v_ld, sizeof(real)), zero = 6 * dl_max(p->x.c, p->dz.c);
    real *v = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (36 * (v_plane + z_plane + u_plane) + zero + 17 * z_ld));
    real *z = v + 36 * v_plane, *du = z + 36 * z_plane, *zeros = du + 36 * u_plane;
    memset(zeros, 0, sizeof(real) * zero);
    if (!p->tiles) memset(du, 0, sizeof(real) * 36 * u_plane);
    for (long first = chunk * p->chunk; first < dl_min((chunk + 1) * p->chunk, p->tiles); first += p->block) {
        const long count = dl_min(p->block, p->tiles - first);
        DL_FN(winograd_data)(&p->x, first, count, c0, channels, zeros, v, v_plane, v_ld);
        DL_FN(winograd_gradient)(&p->dz, first, count, k0, kernels, p->dz.index ? zeros + zero : zeros, z, z_plane,
                                 z_ld);
        for (long point = 0; point < 36; point++)
            for (long j = 0; j < v_ld; j += NR)
                for (long i = 0; i < rows; i += DL_MR) {
                    real *c = du + point * u_plane + i * v_ld + j;
                    DL_FN(tile_panel)(count, z + point * z_plane + i, z_ld, v + point * v_plane + j, v_ld, c, v_ld,
                                      first == chunk * p->chunk ? NULL : c, v_ld, 0);
                }
    }
    real *partial = (real *)p->sum.partial + chunk * p->dz.c * 9 * p->x.c;
    DL_FN(winograd_kernels)(du, u_plane, v_ld, partial + k0 * 9 * p->x.c + c0, kernels, channels, p->x.c);
    (void)worker;
}
#undef NR
