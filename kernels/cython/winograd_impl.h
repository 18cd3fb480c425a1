/* The transforms and jobs of winograd.h. */
#define NR (2 * LANES)
#define N(x) ((real)(x))

/* G (a, b, c): a column of the kernel to its six points. */
DL_INLINE void DL_FN(filter)(vec a, vec b, vec c, vec out[6]) {
    const vec even = (a + c) * N(-1. / 6), odd = b * N(1. / 6);
    const vec far = a * N(1. / 24) + c * N(1. / 6), odd_far = b * N(1. / 12);
    out[0] = a * N(.25);
    out[1] = even - odd;
    out[2] = even + odd;
    out[3] = far + odd_far;
    out[4] = far - odd_far;
    out[5] = c;
}
/* G^T in: six points to a column of the kernel's gradient. */
DL_INLINE void DL_FN(filter_transposed)(const vec in[6], vec out[3]) {
    const vec near = (in[1] + in[2]) * N(1. / 6), far = in[3] + in[4];
    out[0] = in[0] * N(.25) - near + far * N(1. / 24);
    out[1] = (in[2] - in[1]) * N(1. / 6) + (in[3] - in[4]) * N(1. / 12);
    out[2] = far * N(1. / 6) - near + in[5];
}
/* B^T in: a column of an image tile to its six points. */
DL_INLINE void DL_FN(data)(const vec in[6], vec out[6]) {
    const vec even = in[4] - N(4) * in[2], odd = in[3] - N(4) * in[1];
    const vec far = in[4] - in[2], odd_far = N(2) * (in[3] - in[1]);
    out[0] = N(4) * in[0] - N(5) * in[2] + in[4];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = far + odd_far;
    out[4] = far - odd_far;
    out[5] = N(4) * in[1] - N(5) * in[3] + in[5];
}
/* A^T in: six points to four outputs. */
DL_INLINE void DL_FN(output)(const vec in[6], vec out[4]) {
    const vec even = in[1] + in[2], odd = in[1] - in[2], far = in[3] + in[4], odd_far = in[3] - in[4];
    out[0] = in[0] + even + far;
    out[1] = odd + N(2) * odd_far;
    out[2] = even + N(4) * far;
    out[3] = odd + N(8) * odd_far + in[5];
}
/* A in: four output gradients to six points. */
DL_INLINE void DL_FN(output_transposed)(const vec in[4], vec out[6]) {
    const vec even = in[0] + in[2], odd = in[1] + in[3];
    const vec far = in[0] + N(4) * in[2], odd_far = N(2) * in[1] + N(8) * in[3];
    out[0] = in[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = far + odd_far;
    out[4] = far - odd_far;
    out[5] = in[3];
}

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

/* A tile of an image: where its rows begin, and which of its columns [low, high) lie in the image. */
typedef struct {
    const real *row[6];
    long low, high;
} DL_FN(place);

/* The rows x cols pixels of a tile, from channel c0 on; rows outside the image are `zeros`, 6 pixels of them. */
DL_INLINE DL_FN(place) DL_FN(find_tile)(const dl_tiles *g, long tile, int rows, int cols, long c0, const real *zeros) {
    const long j = tile % g->grid_w, i = tile / g->grid_w % g->grid_h, h = 4 * i - g->top, w = 4 * j - g->left;
    const real *image = (const real *)g->image + tile / (g->grid_w * g->grid_h) * g->h * g->w * g->c + c0;
    DL_FN(place) at = {.low = dl_max(0, -w), .high = dl_min(cols, g->w - w)};
    for (int r = 0; r < rows; r++)
        at.row[r] = h + r >= 0 && h + r < g->h ? image + ((h + r) * g->w + w) * g->c : zeros;
    return at;
}

/* The register at p: whole, or its first `count` lanes and 0. */
DL_INLINE vec DL_FN(lanes)(const real *p, long count) {
    return count >= LANES ? DL_FN(vload)(p) : DL_FN(vload_n)(p, count);
}

/* B^T d B of `count` channels from c on, to the 36 points at v. */
DL_INLINE void DL_FN(data_points)(const DL_FN(place) *at, long c, long step, long count, real *v, long plane) {
    vec in[6], out[6], middle[6][6];
    for (int j = 0; j < 6; j++) {
        if (j < at->low || j >= at->high) {
            DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = DL_FN(vsplat)(0);
            continue;
        }
        DL_UNROLL for (int i = 0; i < 6; i++) in[i] = DL_FN(lanes)(at->row[i] + j * step + c, count);
        DL_FN(data)(in, out);
        DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < 6; i++) {
        DL_FN(data)(middle[i], out);
        DL_UNROLL for (int j = 0; j < 6; j++) DL_FN(vstore)(v + (i * 6 + j) * plane + c, out[j]);
    }
}

/* V = B^T d B for `count` tiles and n channels from c0 on: v[point][tile][channel], channels padded with 0 to ld. */
DL_NOINLINE void DL_FN(winograd_data)(const dl_tiles *g, long first, long count, long c0, long n, const real *zeros,
                                      real *v, long plane, long ld) {
    for (long t = 0; t < count; t++, v += ld) {
        const DL_FN(place) at = DL_FN(find_tile)(g, first + t, 6, 6, c0, zeros);
        long c = 0;
        for (; c + LANES <= n; c += LANES)
            DL_FN(data_points)(&at, c, g->c, LANES, v, plane);
        for (; c < ld; c += LANES)
            DL_FN(data_points)(&at, c, g->c, dl_min(n - c, LANES - 1), v, plane);
    }
}

/* A dZ A^T likewise. */
DL_INLINE void DL_FN(gradient_points)(const DL_FN(place) *at, long c, long step, long count, real *z, long plane) {
    vec in[4], out[6], middle[6][4];
    for (int j = 0; j < 4; j++) {
        if (j >= at->high) {
            DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = DL_FN(vsplat)(0);
            continue;
        }
        DL_UNROLL for (int i = 0; i < 4; i++) in[i] = DL_FN(lanes)(at->row[i] + j * step + c, count);
        DL_FN(output_transposed)(in, out);
        DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < 6; i++) {
        DL_FN(output_transposed)(middle[i], out);
        DL_UNROLL for (int j = 0; j < 6; j++) DL_FN(vstore)(z + (i * 6 + j) * plane + c, out[j]);
    }
}

/* Z = A dZ A^T likewise, of 4 x 4 tiles. */
DL_NOINLINE void DL_FN(winograd_gradient)(const dl_tiles *g, long first, long count, long c0, long n,
                                          const real *zeros, real *z, long plane, long ld) {
    for (long t = 0; t < count; t++, z += ld) {
        const DL_FN(place) at = DL_FN(find_tile)(g, first + t, 4, 4, c0, zeros);
        long c = 0;
        for (; c + LANES <= n; c += LANES)
            DL_FN(gradient_points)(&at, c, g->c, LANES, z, plane);
        for (; c < ld; c += LANES)
            DL_FN(gradient_points)(&at, c, g->c, dl_min(n - c, LANES - 1), z, plane);
    }
}

/* A^T M A + bias of one register of channels, with ReLU if `relu`, for the first rows x cols pixels of the tile at y;
   `count` channels of them exist. */
DL_INLINE void DL_FN(output_pixels)(const real *m, long plane, vec bias, int relu, real *y, long row, long column,
                                    long rows, long cols, long count) {
    vec in[6], out[4], middle[4][6];
    DL_UNROLL for (int j = 0; j < 6; j++) {
        DL_UNROLL for (int i = 0; i < 6; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane);
        DL_FN(output)(in, out);
        DL_UNROLL for (int i = 0; i < 4; i++) middle[i][j] = out[i];
    }
    DL_UNROLL for (int i = 0; i < 4; i++) {
        if (i >= rows) return;
        DL_FN(output)(middle[i], out);
        DL_UNROLL for (int j = 0; j < 4; j++) {
            out[j] += bias;
            if (relu) out[j] = DL_FN(vrelu)(out[j]);
            if (j < cols) DL_STORE(y + i * row + j * column, 0, count, out[j]);
        }
    }
}

/* Y = act(A^T M A + bias) for `count` tiles and `width` columns from col on, cut at the edges of the image. */
DL_NOINLINE void DL_FN(winograd_output)(const dl_winograd *p, long first, long count, long col, long width,
                                        const real *m, long plane) {
    const real *bias = p->bias ? (const real *)p->bias + col : NULL;
    const long valid = dl_min(width, p->cols - col), row = p->q * p->cols;
    const int relu = p->activation == DL_RELU;
    for (long t = first; t < first + count; t++, m += width) {
        const long w = t % p->in.grid_w * 4, h = t / p->in.grid_w % p->in.grid_h * 4;
        const long rows = dl_min(4, p->p - h), cols = dl_min(4, p->q - w);
        real *y = (real *)p->out + ((t / (p->in.grid_w * p->in.grid_h) * p->p + h) * p->q + w) * p->cols + col;
        for (long k = 0; k < valid; k += LANES) {
            const vec add = bias ? DL_FN(vload)(bias + k) : DL_FN(vsplat)(0);
            if (k + LANES <= valid)
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
    real *v = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (36 * (v_plane + m_plane) + 6 * p->in.c));
    real *m = v + 36 * v_plane, *zeros = m + 36 * m_plane;
    memset(zeros, 0, sizeof(real) * 6 * p->in.c);
    DL_FN(winograd_data)(&p->in, first, count, 0, p->depth, zeros, v, v_plane, ld);
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
    real *v = (real *)dl_scratch(DL_SCRATCH_JOB, sizeof(real) * (36 * (v_plane + z_plane + u_plane) + zero));
    real *z = v + 36 * v_plane, *du = z + 36 * z_plane, *zeros = du + 36 * u_plane;
    memset(zeros, 0, sizeof(real) * zero);
    if (!p->tiles) memset(du, 0, sizeof(real) * 36 * u_plane);
    for (long first = chunk * p->chunk; first < dl_min((chunk + 1) * p->chunk, p->tiles); first += p->block) {
        const long count = dl_min(p->block, p->tiles - first);
        DL_FN(winograd_data)(&p->x, first, count, c0, channels, zeros, v, v_plane, v_ld);
        DL_FN(winograd_gradient)(&p->dz, first, count, k0, kernels, zeros, z, z_plane, z_ld);
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
#undef N
#undef NR
