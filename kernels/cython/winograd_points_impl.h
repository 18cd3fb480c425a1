/* The transforms of winograd.h, one tile and one register of channels at a time. */
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

/* A tile of an image: where its rows begin, the elements from pixel to pixel, and which of its columns [low, high) lie in
   the image. */
typedef struct {
    const real *row[6];
    long step, low, high;
} DL_FN(place);

/* The four pixels of a 2 x 2 window of dz, n channels: the window's gradient where it won, else 0. */
DL_INLINE void DL_FN(spread_window)(const real *DL_R pooled, const uint8_t *index, long n, real *const to[4]) {
    long c = 0;
    for (; c + LANES <= n; c += LANES) {
        const ivec winner = DL_FN(get_index)(index, 0, c);
        const vec gain = DL_FN(vload)(pooled + c);
        DL_UNROLL for (int cell = 0; cell < 4; cell++)
            DL_FN(vstore)(to[cell] + c,
                          DL_FN(vsel)(winner == DL_FN(isplat)(cell), gain, DL_FN(vsplat)(0)));
    }
    for (; c < n; c++)
        for (int cell = 0; cell < 4; cell++)
            to[cell][c] = index[c] == cell ? pooled[c] : 0;
}

/* The size x size pixels of a tile of dz, from (h, w) on, made in `room` from the gradient of 2 x 2 windows and their
   winners; what a window has outside the tile goes to one pixel more. */
DL_NOINLINE DL_FN(place) DL_FN(spread_tile)(const dl_tiles *g, long h, long w, long image, int size, long c0, long n,
                                            real *room) {
    const long ld = dl_round_up(n, LANES), rows = g->h / 2, cols = g->w / 2, first = image * rows * cols * g->c + c0;
    DL_FN(place) at = {.step = ld, .low = 0, .high = size};
    for (int r = 0; r < size; r++)
        at.row[r] = room + r * size * ld;
    for (long y = (h + 2) / 2 - 1; 2 * y < h + size; y++)
        for (long x = (w + 2) / 2 - 1; 2 * x < w + size; x++) {
            real *to[4];
            for (int cell = 0; cell < 4; cell++) {
                const long r = 2 * y + cell / 2 - h, s = 2 * x + cell % 2 - w;
                to[cell] = room + (r >= 0 && r < size && s >= 0 && s < size ? r * size + s : size * size) * ld;
            }
            const long from = first + (y * cols + x) * g->c;
            if (y >= 0 && y < rows && x >= 0 && x < cols)
                DL_FN(spread_window)((const real *)g->image + from, g->index + from, n, to);
            else
                for (int cell = 0; cell < 4; cell++)
                    memset(to[cell], 0, sizeof(real) * n);
        }
    return at;
}

/* The size x size pixels of a tile, n channels from c0 on. `room` has 37 pixels, of which the first 6 are 0 unless the
   image is one of windows: these are the rows outside the image. */
DL_INLINE DL_FN(place) DL_FN(find_tile)(const dl_tiles *g, long tile, int size, long c0, long n, real *room) {
    const long j = tile % g->grid_w, i = tile / g->grid_w % g->grid_h, h = 4 * i - g->top, w = 4 * j - g->left;
    const long number = tile / (g->grid_w * g->grid_h);
    if (g->index) return DL_FN(spread_tile)(g, h, w, number, size, c0, n, room);
    const real *image = (const real *)g->image + number * g->h * g->w * g->c + c0;
    DL_FN(place) at = {.step = g->c, .low = dl_max(0, -w), .high = dl_min(size, g->w - w)};
    for (int r = 0; r < size; r++)
        at.row[r] = h + r >= 0 && h + r < g->h ? image + ((h + r) * g->w + w) * g->c : room;
    return at;
}

/* B^T d B of `count` channels from c on, to the 36 points at v. */
DL_INLINE void DL_FN(data_points)(const DL_FN(place) *at, long c, long count, real *v, long plane) {
    vec in[6], out[6], middle[6][6];
    for (int j = 0; j < 6; j++) {
        if (j < at->low || j >= at->high) {
            DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = DL_FN(vsplat)(0);
            continue;
        }
        DL_UNROLL for (int i = 0; i < 6; i++) in[i] = DL_FN(lanes)(at->row[i] + j * at->step + c, count);
        DL_FN(data)(in, out);
        DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < 6; i++) {
        DL_FN(data)(middle[i], out);
        DL_UNROLL for (int j = 0; j < 6; j++) DL_FN(vstore)(v + (i * 6 + j) * plane + c, out[j]);
    }
}

/* A dZ A^T likewise. */
DL_INLINE void DL_FN(gradient_points)(const DL_FN(place) *at, long c, long count, real *z, long plane) {
    vec in[4], out[6], middle[6][4];
    for (int j = 0; j < 4; j++) {
        if (j >= at->high) {
            DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = DL_FN(vsplat)(0);
            continue;
        }
        DL_UNROLL for (int i = 0; i < 4; i++) in[i] = DL_FN(lanes)(at->row[i] + j * at->step + c, count);
        DL_FN(output_transposed)(in, out);
        DL_UNROLL for (int i = 0; i < 6; i++) middle[i][j] = out[i];
    }
    for (int i = 0; i < 6; i++) {
        DL_FN(output_transposed)(middle[i], out);
        DL_UNROLL for (int j = 0; j < 6; j++) DL_FN(vstore)(z + (i * 6 + j) * plane + c, out[j]);
    }
}

/* A^T M, down the columns, of one register of channels. */
DL_INLINE void DL_FN(output_columns)(const real *m, long plane, vec middle[4][6]) {
    vec in[6], out[4];
    DL_UNROLL for (int j = 0; j < 6; j++) {
        DL_UNROLL for (int i = 0; i < 6; i++) in[i] = DL_FN(vload)(m + (i * 6 + j) * plane);
        DL_FN(output)(in, out);
        DL_UNROLL for (int i = 0; i < 4; i++) middle[i][j] = out[i];
    }
}

/* A^T M A + bias of one register of channels, with ReLU if `relu`, for the first rows x cols pixels of the tile at y;
   `count` channels of them exist. */
DL_INLINE void DL_FN(output_pixels)(const real *m, long plane, vec bias, int relu, real *y, long row, long column,
                                    long rows, long cols, long count) {
    vec out[4], middle[4][6];
    DL_FN(output_columns)(m, plane, middle);
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

/* The same for the first rows x cols windows of 2 x 2 pixels: the largest of each, and its number. */
DL_INLINE void DL_FN(output_windows)(const real *m, long plane, vec bias, int relu, real *y, uint8_t *index, long row,
                                     long column, long rows, long cols, long count) {
    vec out[2][4], middle[4][6];
    DL_FN(output_columns)(m, plane, middle);
    DL_UNROLL for (int i = 0; i < 2; i++) {
        if (i >= rows) return;
        DL_FN(output)(middle[2 * i], out[0]);
        DL_FN(output)(middle[2 * i + 1], out[1]);
        DL_UNROLL for (int j = 0; j < 2; j++) {
            vec best = out[0][2 * j] + bias;
            ivec winner = DL_FN(isplat)(0);
            if (j >= cols) break;
            DL_UNROLL for (int cell = 1; cell < 4; cell++)
                DL_FN(keep_larger)(out[cell / 2][2 * j + cell % 2] + bias, cell, &best, &winner);
            const long at = i * row + j * column;
            uint8_t numbers[LANES];
            DL_STORE(y + at, 0, count, relu ? DL_FN(vrelu)(best) : best);
            DL_FN(put_index)(numbers, 0, 0, winner);
            memcpy(index + at, numbers, dl_min(count, LANES));
        }
    }
}
#undef N
