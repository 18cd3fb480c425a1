/* The register tile of brgemm.h: pixels x registers of outputs, from 1 pixel to as many as the registers hold. */

/* c (rows x registers) = relu?(c or 0 + sum over the runs of `p` + bias); a: what offsets of pixels count from.  Pixels
   are written in their order, because registers of which only a part exists may spill into the next. */
DL_INLINE void DL_FN(brgemm_tile)(const int rows, const int registers, const dl_panel *p, const real *a,
                                  const dl_pixel *pixel, real *c) {
    const real *b = (const real *)p->b, *bias = (const real *)p->bias, *x[DL_HIGH1];
    vec acc[DL_HIGH1][3];
    DL_UNROLL for (int i = 0; i < rows; i++) {
        x[i] = a + pixel[i].at;
        DL_UNROLL for (int j = 0; j < registers; j++) acc[i][j] = DL_FN(vsplat)(0);
    }
    for (const dl_run *run = p->run; run < p->end; run++) {
        const real *w = b + run->row * (registers * LANES);
        for (long k = run->at, end = k + run->run; k < end; k++, w += registers * LANES) {
            vec weight[3];
            DL_UNROLL for (int j = 0; j < registers; j++) weight[j] = DL_FN(vload)(w + j * LANES);
            DL_UNROLL for (int i = 0; i < rows; i++) {
                const vec xi = DL_FN(vsplat)(x[i][k]);
                DL_UNROLL for (int j = 0; j < registers; j++) acc[i][j] += xi * weight[j];
            }
        }
    }
    if (!p->first) /* all that is read before all that is written: the last register may lie across the one before */
        DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < registers; j++) {
            const real *from = c + pixel[i].to + (j == registers - 1 ? p->last : j * LANES);
            acc[i][j] += registers == 1 && p->part ? DL_FN(load_part)(from, p->part) : DL_FN(vload)(from);
        }
    if (bias)
        DL_UNROLL for (int j = 0; j < registers; j++) {
            const vec more = DL_FN(vload)(bias + j * LANES);
            DL_UNROLL for (int i = 0; i < rows; i++) acc[i][j] += more;
        }
    if (p->relu)
        DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < registers; j++) acc[i][j] =
            DL_FN(vrelu)(acc[i][j]);
    if (registers == 1 && p->part) {
        DL_UNROLL for (int i = 0; i < rows; i++) {
            real *to = c + pixel[i].to;
            if (to + LANES <= (const real *)p->spill)
                DL_FN(vstore)(to, acc[i][0]);
            else
                DL_FN(store_part)(to, acc[i][0], p->part);
        }
        return;
    }
    DL_UNROLL for (int i = 0; i < rows; i++) DL_UNROLL for (int j = 0; j < registers; j++) {
        real *to = c + pixel[i].to + (j == registers - 1 ? p->last : j * LANES);
        if (p->stream)
            DL_FN(vstream)(to, acc[i][j]);
        else
            DL_FN(vstore)(to, acc[i][j]);
    }
}

/* Tiles of one height each: the compiler keeps nothing of those beyond `most`. */
#define TILE(n, registers, most)                                                  \
    case n:                                                                       \
        if (n <= most) DL_FN(brgemm_tile)(n, registers, p, a, pixel, c);          \
        break;
#define TILES(name, registers, most)                                                                                 \
    DL_NOINLINE void DL_FN(name)(long rows, const dl_panel *p, const real *a, const dl_pixel *pixel, real *c) {      \
        switch (rows) {                                                                                              \
            TILE(1, registers, most) TILE(2, registers, most) TILE(3, registers, most) TILE(4, registers, most)      \
            TILE(5, registers, most) TILE(6, registers, most) TILE(7, registers, most) TILE(8, registers, most)      \
            TILE(9, registers, most) TILE(10, registers, most) TILE(11, registers, most) TILE(12, registers, most)   \
        }                                                                                                            \
    }
TILES(brgemm_tiles1, 1, DL_LOW1)
TILES(brgemm_tiles2, 2, DL_MR)
TILES(brgemm_tiles3, 3, DL_WIDE)
#undef TILE
#undef TILES

/* All pixels.  next: what will be read after this, `ahead` numbers, a share of which each tile asks for. */
DL_NOINLINE void DL_FN(brgemm_pixels)(const int registers, const dl_panel *p, const real *a, const dl_pixel *pixel,
                                      long pixels, real *c, const real *next, long ahead) {
    const long most = registers == 1 ? DL_LOW1 : registers == 2 ? DL_MR : DL_WIDE;
    const long share = dl_ceil_div(ahead, dl_ceil_div(pixels, most));
    for (const dl_pixel *end = pixel + pixels; pixel < end; pixel += most, next += share) {
        if (share) DL_FN(prefetch)(next, share);
        (registers == 1   ? DL_FN(brgemm_tiles1)
         : registers == 2 ? DL_FN(brgemm_tiles2)
                          : DL_FN(brgemm_tiles3))(dl_min(most, end - pixel), p, a, pixel, c);
    }
}
