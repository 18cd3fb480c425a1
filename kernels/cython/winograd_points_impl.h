/* The transforms of winograd.h, one tile and one register of channels at a time.

   Lines of a tile are long or short: 4 outputs from 6 pixels by all six points, or 2 outputs from 4 pixels by the first
   four.  A short line leaves the transform of the kernel as it is, which has a factor for each point: the other factor
   is in the transform of its pixels. */
#define N(x) ((real)(x))

/* G (a, b, c): a column of the kernel to its six points. */
DL_INLINE void DL_FN(filter)(vec a, vec b, vec c, vec out[6]) {
    const vec even = (a + c) * N(-1. / 6), odd = b * N(1. / 6);
    const vec far = a * N(1. / 24) + c * N(1. / 6), odd_far = b * N(1. / 12);
    out[0] = a * N(.25);
    out[1] = even - odd;
    out[2] = even + odd;
    out[3] = c;
    out[4] = far + odd_far;
    out[5] = far - odd_far;
}
/* G^T in: six points to a column of the kernel's gradient. */
DL_INLINE void DL_FN(filter_transposed)(const vec in[6], vec out[3]) {
    const vec near = (in[1] + in[2]) * N(1. / 6), far = in[4] + in[5];
    out[0] = in[0] * N(.25) - near + far * N(1. / 24);
    out[1] = (in[2] - in[1]) * N(1. / 6) + (in[4] - in[5]) * N(1. / 12);
    out[2] = far * N(1. / 6) - near + in[3];
}
/* B^T in: pixels of a line to its points. */
DL_INLINE void DL_FN(data)(const vec in[6], vec out[6]) {
    const vec even = in[4] - N(4) * in[2], odd = in[3] - N(4) * in[1];
    const vec far = in[4] - in[2], odd_far = N(2) * (in[3] - in[1]);
    out[0] = N(4) * in[0] - N(5) * in[2] + in[4];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = N(4) * in[1] - N(5) * in[3] + in[5];
    out[4] = far + odd_far;
    out[5] = far - odd_far;
}
DL_INLINE void DL_FN(data_short)(const vec in[4], vec out[4]) {
    out[0] = N(4) * (in[0] - in[2]);
    out[1] = N(-3) * (in[1] + in[2]);
    out[2] = N(3) * (in[1] - in[2]);
    out[3] = in[3] - in[1];
}
/* B in: points to pixels. */
DL_INLINE void DL_FN(data_transposed)(const vec in[6], vec out[6]) {
    const vec even = in[1] + in[2], odd = in[1] - in[2], far = in[4] + in[5], odd_far = N(2) * (in[4] - in[5]);
    out[0] = N(4) * in[0];
    out[1] = N(4) * (in[3] - odd) - odd_far;
    out[2] = N(-5) * in[0] - N(4) * even - far;
    out[3] = odd - N(5) * in[3] + odd_far;
    out[4] = in[0] + even + far;
    out[5] = in[3];
}
DL_INLINE void DL_FN(data_transposed_short)(const vec in[4], vec out[4]) {
    out[0] = N(4) * in[0];
    out[1] = N(3) * (in[2] - in[1]) - in[3];
    out[2] = N(-4) * in[0] - N(3) * (in[1] + in[2]);
    out[3] = in[3];
}
/* A^T in: points to outputs. */
DL_INLINE void DL_FN(output)(const vec in[6], vec out[4]) {
    const vec even = in[1] + in[2], odd = in[1] - in[2], far = in[4] + in[5], odd_far = in[4] - in[5];
    out[0] = in[0] + even + far;
    out[1] = odd + N(2) * odd_far;
    out[2] = even + N(4) * far;
    out[3] = odd + N(8) * odd_far + in[3];
}
DL_INLINE void DL_FN(output_short)(const vec in[4], vec out[2]) {
    out[0] = in[0] + in[1] + in[2];
    out[1] = in[1] - in[2] + in[3];
}
/* A in: gradients of outputs to points. */
DL_INLINE void DL_FN(output_transposed)(const vec in[4], vec out[6]) {
    const vec even = in[0] + in[2], odd = in[1] + in[3];
    const vec far = in[0] + N(4) * in[2], odd_far = N(2) * in[1] + N(8) * in[3];
    out[0] = in[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = in[3];
    out[4] = far + odd_far;
    out[5] = far - odd_far;
}
DL_INLINE void DL_FN(output_transposed_short)(const vec in[2], vec out[4]) {
    out[0] = in[0];
    out[1] = in[0] + in[1];
    out[2] = in[0] - in[1];
    out[3] = in[1];
}

/* A tile of an image: where its rows begin, the elements from pixel to pixel, which of its columns [low, high) lie in
   the image, and its points along a column and a row, 6 or 4. */
typedef struct {
    real *row[6];
    long step, low, high;
    int rows, cols;
} DL_FN(place);

/* The tile from channel c0 on; `size` is the pixels of a long line.  Rows outside the image begin at `outside`. */
DL_INLINE DL_FN(place) DL_FN(find_tile)(const dl_tiles *g, long tile, int size, long c0, real *outside) {
    const long j = tile % g->grid_w, i = tile / g->grid_w % g->grid_h, h = 4 * i - g->top, w = 4 * j - g->left;
    real *image = (real *)g->image + tile / (g->grid_w * g->grid_h) * g->h * g->w * g->c + c0;
    DL_FN(place) at = {.step = g->c, .rows = dl_line_points(g->p, i), .cols = dl_line_points(g->q, j)};
    at.low = dl_max(0, -w);
    at.high = dl_min(size - 6 + at.cols, g->w - w);
    for (int r = 0; r < size; r++)
        at.row[r] = h + r >= 0 && h + r < g->h ? image + ((h + r) * g->w + w) * g->c : outside;
    return at;
}

/* B^T d B of `count` channels from c on, to the points at v. */
DL_INLINE void DL_FN(data_points)(const DL_FN(place) *at, long c, long count, real *v, long plane) {
    vec in[6], out[6], middle[6][6];
    for (int j = 0; j < at->cols; j++) {
        if (j < at->low || j >= at->high) {
            DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = DL_FN(vsplat)(0);
            continue;
        }
        DL_UNROLL for (int i = 0; i < 4; i++) in[i] = DL_FN(lanes)(at->row[i] + j * at->step + c, count);
        if (at->rows == 4) {
            DL_FN(data_short)(in, out);
            DL_UNROLL for (int i = 0; i < 4; i++) middle[i][j] = out[i];
            continue;
        }
        DL_UNROLL for (int i = 4; i < 6; i++) in[i] = DL_FN(lanes)(at->row[i] + j * at->step + c, count);
        DL_FN(data)(in, out);
        DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < at->rows; i++) {
        real *to = v + i * 6 * plane + c;
        if (at->cols == 4) {
            DL_FN(data_short)(middle[i], out);
            DL_UNROLL for (int j = 0; j < 4; j++) DL_FN(vstore)(to + j * plane, out[j]);
            continue;
        }
        DL_FN(data)(middle[i], out);
        DL_UNROLL for (int j = 0; j < 6; j++) DL_FN(vstore)(to + j * plane, out[j]);
    }
}

/* B M B^T of `count` channels from c on, added to the pixels of the tile; those of the tiles above and beside it, the
   first two rows if `above` and columns if `beside`, are there already, the others are not. */
DL_INLINE void DL_FN(data_pixels)(const DL_FN(place) *at, long c, long count, int above, int beside, const real *m,
                                  long plane) {
    vec in[6], out[6], middle[6][6];
    for (int j = 0; j < at->cols; j++) {
        DL_UNROLL for (int i = 0; i < 4; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane + c);
        if (at->rows == 4) {
            DL_FN(data_transposed_short)(in, out);
            DL_UNROLL for (int i = 0; i < 4; i++) middle[i][j] = out[i];
            continue;
        }
        DL_UNROLL for (int i = 4; i < 6; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane + c);
        DL_FN(data_transposed)(in, out);
        DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < at->rows; i++) {
        real *to = at->row[i] + c;
        const int done = above && i < 2 ? 6 : beside ? 2 : 0;
        if (!at->row[i]) continue;
        if (at->cols == 4)
            DL_FN(data_transposed_short)(middle[i], out);
        else
            DL_FN(data_transposed)(middle[i], out);
        for (int j = at->low; j < at->high; j++) {
            real *pixel = to + j * at->step;
            DL_STORE(pixel, 0, count, j < done ? DL_FN(lanes)(pixel, count) + out[j] : out[j]);
        }
    }
}

/* A dZ, along the rows: the second half of the transform below. */
DL_INLINE void DL_FN(gradient_rows)(const DL_FN(place) *at, vec middle[6][4], real *z, long plane) {
    vec out[6];
    for (int i = 0; i < at->rows; i++) {
        real *to = z + i * 6 * plane;
        if (at->cols == 4) {
            DL_FN(output_transposed_short)(middle[i], out);
            DL_UNROLL for (int j = 0; j < 4; j++) DL_FN(vstore)(to + j * plane, out[j]);
            continue;
        }
        DL_FN(output_transposed)(middle[i], out);
        DL_UNROLL for (int j = 0; j < 6; j++) DL_FN(vstore)(to + j * plane, out[j]);
    }
}
DL_INLINE void DL_FN(gradient_column)(const DL_FN(place) *at, const vec in[4], int j, vec middle[6][4]) {
    vec out[6];
    if (at->rows == 4) {
        DL_FN(output_transposed_short)(in, out);
        DL_UNROLL for (int i = 0; i < 4; i++) middle[i][j] = out[i];
    } else {
        DL_FN(output_transposed)(in, out);
        DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = out[i];
    }
}

/* A dZ A^T of `count` channels from c on, to the points at z. */
DL_INLINE void DL_FN(gradient_points)(const DL_FN(place) *at, long c, long count, real *z, long plane) {
    vec in[4], middle[6][4];
    for (int j = 0; j < at->cols - 2; j++) {
        DL_UNROLL for (int i = 0; i < 4; i++) in[i] =
            j < at->high && i < at->rows - 2 ? DL_FN(lanes)(at->row[i] + j * at->step + c, count) : DL_FN(vsplat)(0);
        DL_FN(gradient_column)(at, in, j, middle);
    }
    DL_FN(gradient_rows)(at, middle, z + c, plane);
}

/* The same from the gradients of 2 x 2 windows, those of the tile at `from`, `row` from the first row to the second:
   rows x cols of them exist. */
DL_INLINE void DL_FN(gradient_windows)(const dl_tiles *g, const DL_FN(place) *at, long from, long row, long rows,
                                       long cols, long count, real *z, long plane) {
    vec middle[6][4];
    for (int j = 0; j < (at->cols - 2) / 2; j++) {
        vec in[2][4];
        DL_UNROLL for (int i = 0; i < 2; i++) {
            const long window = from + i * row + j * at->step;
            vec gain = DL_FN(vsplat)(0);
            ivec winner = DL_FN(isplat)(0);
            if (i < rows && j < cols) {
                gain = DL_FN(lanes)((const real *)g->image + window, count);
                if (g->y)
                    gain = DL_FN(vactivation_gradient)(gain, DL_FN(lanes)((const real *)g->y + window, count),
                                                       g->activation);
                winner = DL_FN(load_index)(g->index, 0, window, count);
            }
            DL_UNROLL for (int cell = 0; cell < 4; cell++) in[cell % 2][2 * i + cell / 2] =
                DL_FN(vsel)(winner == DL_FN(isplat)(cell), gain, DL_FN(vsplat)(0));
        }
        DL_FN(gradient_column)(at, in[0], 2 * j, middle);
        DL_FN(gradient_column)(at, in[1], 2 * j + 1, middle);
    }
    DL_FN(gradient_rows)(at, middle, z, plane);
}

/* A^T M, down the columns, of one register of channels. */
DL_INLINE void DL_FN(output_columns)(const real *m, long plane, const DL_FN(place) *at, vec middle[4][6]) {
    vec in[6], out[4];
    for (int j = 0; j < at->cols; j++) {
        DL_UNROLL for (int i = 0; i < 4; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane);
        if (at->rows == 4) {
            DL_FN(output_short)(in, out);
            DL_UNROLL for (int i = 0; i < 2; i++) middle[i][j] = out[i];
            continue;
        }
        DL_UNROLL for (int i = 4; i < 6; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane);
        DL_FN(output)(in, out);
        DL_UNROLL for (int i = 0; i < 4; i++) middle[i][j] = out[i];
    }
}
DL_INLINE void DL_FN(output_row)(const DL_FN(place) *at, const vec in[6], vec out[4]) {
    if (at->cols == 4) {
        DL_FN(output_short)(in, out);
        out[2] = out[3] = DL_FN(vsplat)(0);
    } else
        DL_FN(output)(in, out);
}

/* A^T M A + bias of one register of channels, with ReLU if `relu`, for the first rows x cols pixels of the tile at y;
   `count` channels of them exist. */
DL_INLINE void DL_FN(output_pixels)(const real *m, long plane, const DL_FN(place) *at, vec bias, int relu, real *y,
                                    long row, long column, long rows, long cols, long count) {
    vec out[4], middle[4][6];
    DL_FN(output_columns)(m, plane, at, middle);
    for (int i = 0; i < rows; i++) {
        DL_FN(output_row)(at, middle[i], out);
        DL_UNROLL for (int j = 0; j < 4; j++) {
            if (j >= cols) break;
            out[j] += bias;
            if (relu) out[j] = DL_FN(vrelu)(out[j]);
            DL_STORE(y + i * row + j * column, 0, count, out[j]);
        }
    }
}

/* The same for the first rows x cols windows of 2 x 2 pixels: the largest of each, and its number. */
DL_INLINE void DL_FN(output_windows)(const real *m, long plane, const DL_FN(place) *at, vec bias, int relu, real *y,
                                     uint8_t *index, long row, long column, long rows, long cols, long count) {
    vec out[2][4], middle[4][6];
    DL_FN(output_columns)(m, plane, at, middle);
    for (int i = 0; i < rows; i++) {
        DL_FN(output_row)(at, middle[2 * i], out[0]);
        DL_FN(output_row)(at, middle[2 * i + 1], out[1]);
        DL_UNROLL for (int j = 0; j < 2; j++) {
            if (j >= cols) break;
            vec best = out[0][2 * j] + bias;
            ivec winner = DL_FN(isplat)(0);
            DL_UNROLL for (int cell = 1; cell < 4; cell++)
                DL_FN(keep_larger)(out[cell / 2][2 * j + cell % 2] + bias, cell, &best, &winner);
            const long to = i * row + j * column;
            DL_STORE(y + to, 0, count, relu ? DL_FN(vrelu)(best) : best);
            DL_FN(store_index)(index, 0, to, winner, count);
        }
    }
}
#undef N
