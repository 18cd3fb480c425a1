/* The transforms of winograd.h, one tile and one register of channels at a time: see winograd_lines.inc.h. */

/* A tile of an image: where its rows begin, the elements from pixel to pixel, and which of its columns [low, high) lie in
   the image.  Each function below is compiled for the kinds of tiles: `down` and `across`, the points along a column and
   along a row, are constants 6 or 4, `taps` are those of the kernel. */
typedef struct {
    real *row[6];
    long step, low, high;
} DL_FN(place);

/* The tile from channel c0 on; `size` is the pixels of a long line.  Rows outside the image begin at `outside`. */
DL_INLINE DL_FN(place) DL_FN(find_tile)(const dl_tiles *g, long tile, int size, long c0, real *outside) {
    const long j = tile % g->grid_w, i = tile / g->grid_w % g->grid_h, h = g->side * i - g->top;
    const long w = g->side * j - g->left;
    real *image = (real *)g->image + tile / (g->grid_w * g->grid_h) * g->h * g->w * g->c + c0;
    DL_FN(place) at = {.step = g->c, .low = dl_max(0, -w)};
    at.high = dl_min(size - 6 + dl_line_points(g, g->q, j), g->w - w);
    for (int r = 0; r < size; r++)
        at.row[r] = h + r >= 0 && h + r < g->h ? image + ((h + r) * g->w + w) * g->c : outside;
    return at;
}

/* Begins to fetch n channels of the columns [low, high) of a tile: the processor does not foresee such short runs. */
DL_INLINE void DL_FN(fetch_tile)(const DL_FN(place) *at, int size, const real *outside, long low, long high, long n) {
    for (int r = 0; r < size; r++)
        for (long j = low; j < high && at->row[r] != outside; j++)
            for (long c = 0; c < n; c += 64 / (long)sizeof(real))
                DL_PREFETCH(at->row[r] + j * at->step + c);
}

/* B^T d B of `count` channels from c on, to the points at v. */
DL_INLINE void DL_FN(data_points)(const int down, const int across, long c, long count, const DL_FN(place) *at, real *v,
                                  long plane) {
    vec in[6], out[6], middle[6][6];
    for (int j = 0; j < across; j++) {
        if (j < at->low || j >= at->high) {
            DL_UNROLL for (int i = 0; i < down; i++) middle[i][j] = DL_FN(vsplat)(0);
            continue;
        }
        DL_UNROLL for (int i = 0; i < down; i++) in[i] = DL_FN(vload_n)(at->row[i] + j * at->step + c, count);
        DL_FN(data_line)(down, in, out);
        DL_UNROLL for (int i = 0; i < down; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < down; i++) {
        DL_FN(data_line)(across, middle[i], out);
        DL_UNROLL for (int j = 0; j < across; j++) DL_FN(vstore)(v + (i * 6 + j) * plane + c, out[j]);
    }
}

/* B M B^T of `count` channels from c on, added to the pixels of the tile; those of the tiles above and beside it, the
   first two rows if `above` and columns if `beside`, are there already, the others are not. */
DL_INLINE void DL_FN(data_pixels)(const int down, const int across, long c, long count, const DL_FN(place) *at,
                                  int above, int beside, const real *m, long plane) {
    vec in[6], out[6], middle[6][6];
    for (int j = 0; j < across; j++) {
        DL_UNROLL for (int i = 0; i < down; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane + c);
        DL_FN(data_transposed_line)(down, in, out);
        DL_UNROLL for (int i = 0; i < down; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < down; i++) {
        real *to = at->row[i] + c;
        const int done = above && i < 2 ? 6 : beside ? 2 : 0;
        if (!at->row[i]) continue;
        DL_FN(data_transposed_line)(across, middle[i], out);
        DL_UNROLL for (int j = 0; j < across; j++) {
            real *pixel = to + j * at->step;
            if (j >= at->low && j < at->high)
                DL_FN(vstore_n)(pixel, j < done ? DL_FN(vload_n)(pixel, count) + out[j] : out[j], count);
        }
    }
}

/* A dZ A^T from the columns of A dZ. */
DL_INLINE void DL_FN(gradient_rows)(const int taps, const int down, const int across, vec middle[6][4], real *z,
                                    long plane) {
    vec out[6];
    for (int i = 0; i < down; i++) {
        DL_FN(output_transposed_line)(taps, across, middle[i], out);
        DL_UNROLL for (int j = 0; j < across; j++) DL_FN(vstore)(z + (i * 6 + j) * plane, out[j]);
    }
}
DL_INLINE void DL_FN(gradient_column)(const int taps, const int down, const vec in[4], int j, vec middle[6][4]) {
    vec out[6];
    DL_FN(output_transposed_line)(taps, down, in, out);
    DL_UNROLL for (int i = 0; i < down; i++) middle[i][j] = out[i];
}

/* A dZ A^T of `count` channels from c on, to the points at z. */
DL_INLINE void DL_FN(gradient_points)(const int taps, const int down, const int across, long c, long count,
                                      const DL_FN(place) *at, real *z, long plane) {
    vec in[4], middle[6][4];
    for (int j = 0; j <= across - taps; j++) {
        DL_UNROLL for (int i = 0; i <= down - taps; i++) in[i] =
            j < at->high ? DL_FN(vload_n)(at->row[i] + j * at->step + c, count) : DL_FN(vsplat)(0);
        DL_FN(gradient_column)(taps, down, in, j, middle);
    }
    DL_FN(gradient_rows)(taps, down, across, middle, z + c, plane);
}

/* The 2 x 2 windows of the tile, whose gradients begin at element `from` of g, `row` from the first row to the second;
   rows x cols of them exist. */
typedef struct {
    long from, row, rows, cols;
} DL_FN(windows);

DL_INLINE DL_FN(windows) DL_FN(find_windows)(const dl_tiles *g, long tile, long c0) {
    const long h = g->p / 2, w = g->q / 2, j = tile % g->grid_w * 2, i = tile / g->grid_w % g->grid_h * 2;
    const long image = tile / (g->grid_w * g->grid_h);
    return (DL_FN(windows)){((image * h + i) * w + j) * g->c + c0, w * g->c, dl_min(2, h - i), dl_min(2, w - j)};
}
DL_INLINE void DL_FN(fetch_windows)(const dl_tiles *g, const DL_FN(windows) *at, long n) {
    for (long i = 0; i < at->rows; i++)
        for (long j = 0; j < at->cols; j++)
            for (long c = 0; c < n; c += 64 / (long)sizeof(real)) {
                const long window = at->from + i * at->row + j * g->c + c;
                DL_PREFETCH((const real *)g->image + window);
                if (g->y) DL_PREFETCH((const real *)g->y + window);
                if (c % 64 == 0) DL_PREFETCH(g->index + window);
            }
}

/* A dZ A^T of `count` channels from c on, from the gradients of windows. */
DL_INLINE void DL_FN(gradient_windows)(const int down, const int across, long c, long count, const dl_tiles *g,
                                       const DL_FN(windows) *at, real *z, long plane) {
    vec middle[6][4];
    for (int j = 0; j < (across - 2) / 2; j++) {
        vec in[2][4];
        DL_UNROLL for (int i = 0; i < (down - 2) / 2; i++) {
            const long window = at->from + i * at->row + j * g->c + c;
            vec gain = DL_FN(vsplat)(0);
            ivec winner = DL_FN(isplat)(0);
            if (i < at->rows && j < at->cols) {
                gain = DL_FN(vload_n)((const real *)g->image + window, count);
                if (g->y)
                    gain = DL_FN(vactivation_gradient)(gain, DL_FN(vload_n)((const real *)g->y + window, count),
                                                       g->activation);
                winner = DL_FN(load_index)(g->index, 0, window, count);
            }
            DL_UNROLL for (int cell = 0; cell < 4; cell++) in[cell % 2][2 * i + cell / 2] =
                DL_FN(vsel)(DL_FN(ieq)(winner, DL_FN(isplat)(cell)), gain, DL_FN(vsplat)(0));
        }
        DL_FN(gradient_column)(3, down, in[0], 2 * j, middle);
        DL_FN(gradient_column)(3, down, in[1], 2 * j + 1, middle);
    }
    DL_FN(gradient_rows)(3, down, across, middle, z + c, plane);
}

/* A^T M, down the columns, of one register of channels. */
DL_INLINE void DL_FN(output_columns)(const int taps, const int down, const int across, const real *m, long plane,
                                     vec middle[4][6]) {
    vec in[6], out[4];
    for (int j = 0; j < across; j++) {
        DL_UNROLL for (int i = 0; i < down; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane);
        DL_FN(output_line)(taps, down, in, out);
        DL_UNROLL for (int i = 0; i <= down - taps; i++) middle[i][j] = out[i];
    }
}

/* Where the outputs of a tile go: the first of them (with its index, for windows), elements from row to row and from
   column to column, how many rows and columns exist; the bias, padded to whole registers, and whether ReLU follows. */
typedef struct {
    real *y;
    uint8_t *index;
    const real *bias;
    long row, column, rows, cols;
    int relu;
    vec *check; /* where their products with 0 are added up */
} DL_FN(target);

/* A^T M A + bias of the channels from k on. */
DL_INLINE void DL_FN(output_pixels)(const int taps, const int down, const int across, long k, long count,
                                    const DL_FN(target) *to, const real *m, long plane) {
    const vec bias = to->bias ? DL_FN(vload)(to->bias + k) : DL_FN(vsplat)(0);
    vec out[4], middle[4][6], check[4];
    DL_UNROLL for (int j = 0; j < 4; j++) check[j] = DL_FN(vsplat)(0);
    DL_FN(output_columns)(taps, down, across, m + k, plane, middle);
    for (int i = 0; i <= down - taps && i < to->rows; i++) {
        DL_FN(output_line)(taps, across, middle[i], out);
        DL_UNROLL for (int j = 0; j <= across - taps; j++) {
            if (j >= to->cols) break;
            check[j] += out[j] * 0;
            out[j] += bias;
            if (to->relu) out[j] = DL_FN(vrelu)(out[j]);
            DL_FN(vstore_n)(to->y + i * to->row + j * to->column + k, out[j], count);
        }
    }
    *to->check += (check[0] + check[1]) + (check[2] + check[3]);
}

/* The same for 2 x 2 windows: the largest of each, and its number. */
DL_INLINE void DL_FN(output_windows)(const int down, const int across, long k, long count, const DL_FN(target) *to,
                                    const real *m, long plane) {
    const vec bias = to->bias ? DL_FN(vload)(to->bias + k) : DL_FN(vsplat)(0);
    vec out[2][4], middle[4][6], check[4];
    DL_UNROLL for (int j = 0; j < 4; j++) check[j] = DL_FN(vsplat)(0);
    DL_FN(output_columns)(3, down, across, m + k, plane, middle);
    for (int i = 0; i < (down - 2) / 2 && i < to->rows; i++) {
        DL_FN(output_line)(3, across, middle[2 * i], out[0]);
        DL_FN(output_line)(3, across, middle[2 * i + 1], out[1]);
        DL_UNROLL for (int j = 0; j < (across - 2) / 2; j++) {
            if (j >= to->cols) break;
            vec best = out[0][2 * j] + bias;
            ivec winner = DL_FN(isplat)(0);
            DL_UNROLL for (int cell = 0; cell < 4; cell++) check[cell] += out[cell / 2][2 * j + cell % 2] * 0;
            DL_UNROLL for (int cell = 1; cell < 4; cell++)
                DL_FN(keep_larger)(out[cell / 2][2 * j + cell % 2] + bias, cell, &best, &winner);
            const long at = i * to->row + j * to->column + k;
            DL_FN(vstore_n)(to->y + at, to->relu ? DL_FN(vrelu)(best) : best, count);
            DL_FN(store_index)(to->index, 0, at, winner, count);
        }
    }
    *to->check += (check[0] + check[1]) + (check[2] + check[3]);
}
