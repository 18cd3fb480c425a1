/* The transforms of winograd.h along one line of a tile, of one register of channels.

   Lines are long or short: 4 outputs (3 or 2, for kernels of 4 or 5 taps) from 6 pixels by all six points, or 2 outputs
   from 4 pixels by the first four.  A short line leaves the transform of the kernel as it is, which has a factor for each
   point: the other factor is in the transform of its pixels. */
#define N(x) ((real)(x))

/* G g: a column of a kernel of `taps` taps, 3 to 5, to its six points. */
DL_INLINE void DL_FN(filter)(const vec g[5], int taps, vec out[6]) {
    vec even = g[0] + g[2], odd = g[1], far = g[0] * N(1. / 24) + g[2] * N(1. / 6), odd_far = g[1] * N(1. / 12);
    if (taps > 3) {
        odd += g[3];
        odd_far += g[3] * N(1. / 3);
    }
    if (taps > 4) {
        even += g[4];
        far += g[4] * N(2. / 3);
    }
    even *= N(-1. / 6);
    odd *= N(1. / 6);
    out[0] = g[0] * N(.25);
    out[1] = even - odd;
    out[2] = even + odd;
    out[3] = g[taps - 1];
    out[4] = far + odd_far;
    out[5] = far - odd_far;
}
/* G^T in: six points to a column of the kernel's gradient. */
DL_INLINE void DL_FN(filter_transposed)(const vec in[6], int taps, vec out[5]) {
    const vec near = (in[1] + in[2]) * N(1. / 6), odd = (in[2] - in[1]) * N(1. / 6);
    const vec far = in[4] + in[5], odd_far = in[4] - in[5];
    out[0] = in[0] * N(.25) - near + far * N(1. / 24);
    out[1] = odd + odd_far * N(1. / 12);
    out[2] = far * N(1. / 6) - near;
    if (taps > 3) out[3] = odd + odd_far * N(1. / 3);
    if (taps > 4) out[4] = far * N(2. / 3) - near;
    out[taps - 1] += in[3];
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
/* A^T in: points to `side` outputs, 2 to 4. */
DL_INLINE void DL_FN(output)(const vec in[6], int side, vec out[4]) {
    const vec even = in[1] + in[2], odd = in[1] - in[2], far = in[4] + in[5], odd_far = in[4] - in[5];
    out[0] = in[0] + even + far;
    out[1] = odd + N(2) * odd_far;
    out[2] = even + N(4) * far;
    out[3] = odd + N(8) * odd_far;
    out[side - 1] += in[3];
}
DL_INLINE void DL_FN(output_short)(const vec in[4], vec out[2]) {
    out[0] = in[0] + in[1] + in[2];
    out[1] = in[1] - in[2] + in[3];
}
/* A in: gradients of `side` outputs to points. */
DL_INLINE void DL_FN(output_transposed)(const vec in[4], int side, vec out[6]) {
    vec even = in[0], odd = in[1], far = in[0], odd_far = N(2) * in[1];
    if (side > 2) {
        even += in[2];
        far += N(4) * in[2];
    }
    if (side > 3) {
        odd += in[3];
        odd_far += N(8) * in[3];
    }
    out[0] = in[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = in[side - 1];
    out[4] = far + odd_far;
    out[5] = far - odd_far;
}
DL_INLINE void DL_FN(output_transposed_short)(const vec in[2], vec out[4]) {
    out[0] = in[0];
    out[1] = in[0] + in[1];
    out[2] = in[0] - in[1];
    out[3] = in[1];
}

/* B^T in of a line of `points` pixels. */
DL_INLINE void DL_FN(data_line)(const int points, const vec in[6], vec out[6]) {
    if (points == 4)
        DL_FN(data_short)(in, out);
    else
        DL_FN(data)(in, out);
}
DL_INLINE void DL_FN(data_transposed_line)(const int points, const vec in[6], vec out[6]) {
    if (points == 4)
        DL_FN(data_transposed_short)(in, out);
    else
        DL_FN(data_transposed)(in, out);
}
DL_INLINE void DL_FN(output_line)(const int taps, const int points, const vec in[6], vec out[4]) {
    if (points == 4)
        DL_FN(output_short)(in, out);
    else
        DL_FN(output)(in, 7 - taps, out);
}
DL_INLINE void DL_FN(output_transposed_line)(const int taps, const int points, const vec in[4], vec out[6]) {
    if (points == 4)
        DL_FN(output_transposed_short)(in, out);
    else
        DL_FN(output_transposed)(in, 7 - taps, out);
}
#undef N
