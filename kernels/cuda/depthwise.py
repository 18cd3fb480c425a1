"""Depthwise convolution: a channel of x by itself, K / C kernels to each. Part of `conv.py`, which calls it.

Forward and dx a thread makes a number, and neighbours are neighbouring channels. dweight is like `columns.py`: a block
takes 32 kernels at one place of the window by a share of the outputs.
Bytes moved: forward x and y once, dx dz and dx once, where the caches hold the rows of a window; dweight x and dz once
for each place of the window.
"""

from __future__ import annotations

from .columns import COLUMNS, LINES, ROWS
from .dialect import cuda, kernel, real
from .gemm import BOUNDS, CODES, THREADS, activate, reduced_parts, room_for_parts

GEOMETRY = 15 * "i"  # n h w c p q k r s sh sw top left dh dw; c and k of all groups


@kernel("pppp" + GEOMETRY + "ii")
def forward(x, weight, bias, y, n, h, w, c, p, q, k, r, s, sh, sw, top, left, dh, dw, has_bias, code):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n * p * q * k:
        own = i % k
        channel = own // (k // c)
        row = i // k // q % p * sh - top
        column = i // k % q * sw - left
        image = i // k // q // p
        total = bias[own] if has_bias else real(0)
        for a in range(r):
            u = row + a * dh
            for b in range(s):
                v = column + b * dw
                if u >= 0 and u < h and v >= 0 and v < w:
                    total += x[((image * h + u) * w + v) * c + channel] * weight[(own * r + a) * s + b]
        y[i] = activate(total, code)


@kernel("ppp" + GEOMETRY, bounds=BOUNDS)
def dx(dz, weight, out, n, h, w, c, p, q, k, r, s, sh, sw, top, left, dh, dw):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n * h * w * c:
        channel = i % c
        column = i // c % w + left
        row = i // c // w % h + top
        image = i // c // w // h
        each = k // c
        total = real(0)
        for a in range(r):
            u = row - a * dh
            for b in range(s):
                v = column - b * dw
                if u >= 0 and u % sh == 0 and u // sh < p and v >= 0 and v % sw == 0 and v // sw < q:
                    at = ((image * p + u // sh) * q + v // sw) * k
                    for own in range(channel * each, channel * each + each):
                        total += dz[at + own] * weight[(own * r + a) * s + b]
        out[i] = total


@kernel("pps" + GEOMETRY)
def dweight(x, dz, parts, n, h, w, c, p, q, k, r, s, sh, sw, top, left, dh, dw):
    """Shares (.., K, R S) of dweight; block y makes a place of the window, block z a share."""
    sums = cuda.shared.array(256, real)
    own = cuda.blockIdx.x * 32 + cuda.threadIdx.x
    tap = cuda.blockIdx.y
    first = cuda.blockIdx.z * 512
    total = real(0)
    if own < k:
        channel = own // (k // c)
        for at in range(first + cuda.threadIdx.y, min(first + 512, n * p * q), 8):
            u = at // q % p * sh + tap // s * dh - top
            v = at % q * sw + tap % s * dw - left
            if u >= 0 and u < h and v >= 0 and v < w:
                total += dz[at * k + own] * x[((at // q // p * h + u) * w + v) * c + channel]
    sums[cuda.threadIdx.y * 32 + cuda.threadIdx.x] = total
    cuda.syncthreads()
    if cuda.threadIdx.y == 0 and own < k:
        for line in range(1, 8):
            total += sums[line * 32 + cuda.threadIdx.x]
        parts[(cuda.blockIdx.z * k + own) * r * s + tap] = total


def is_depthwise(plan) -> bool:
    """Whether each channel of the image is a group of its own, and there are several."""
    return plan.geometry[3] == plan.image[3] > 1


def _geometry(plan):
    (sh, sw), (top, _, left, _), (dh, dw), _ = plan.geometry
    return *plan.image, *plan.output[1:], *plan.kernel[1:3], sh, sw, top, left, dh, dw


def _blocks(count):
    return -(-count // THREADS), 1, 1


def outputs(x, weight, bias, plan, activation):
    """y (N, P, Q, K)."""
    y = x.device.empty(plan.output, x.dtype)
    forward(_blocks(y.size), THREADS, x, weight, bias, y, *_geometry(plan), bias is not None, CODES[activation])
    return y


def image_gradient(dz, weight, plan):
    """dx (N, H, W, C)."""
    out = dz.device.empty(plan.image, dz.dtype)
    dx(_blocks(out.size), THREADS, dz, weight, out, *_geometry(plan))
    return out


def weight_gradient(x, dz, plan, need):
    """dweight (K, R, S, 1); need: where it goes, see `destination`."""
    k, r, s, _ = plan.kernel
    n, p, q, _ = plan.output
    shares = max(1, -(-n * p * q // ROWS))
    parts, out = room_for_parts(need, shares, plan.kernel, x.device, x.dtype)
    dweight((-(-k // COLUMNS), r * s, shares), (COLUMNS, LINES), x, dz, parts, *_geometry(plan))
    return reduced_parts(parts, x.dtype, out)
