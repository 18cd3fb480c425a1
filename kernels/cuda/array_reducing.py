"""Kernels of reductions: sums, products and extremes, their places, and running sums.

An array is (A, N, C), reduced over N. Numbers are added in float64, or int64 for integers, eight at a time in their own
dtype before, so that the error does not grow with N; the order follows from the shape alone, and so do the bits.
Bytes moved: those of the array once.
"""

from __future__ import annotations

from .array_axes import THREADS
from .dialect import cuda, device, f64, i64, kernel, real

OPERATIONS = {"sum": 0, "prod": 1, "max": 2, "min": 3}
PIECE = 8  # numbers that are added in their own dtype


@device
def joined_by(code, a, b):
    """a + b, a b, or the larger or smaller one; NaN where either is NaN."""
    if code == 0:
        return a + b
    if code == 1:
        return a * b
    if code == 2:
        return a if a >= b or a != a else b
    return a if a <= b or a != a else b


@device
def shared_out(total, divisor):
    return real(total / f64(divisor))


@device
def undivided(total, divisor):
    return real(total)


def _reduction(letter: str, name: str, wide, low, high, result):
    """Kernels for arrays whose results are kept in the dtype `wide`, to which the letter points.

    block: parts (A, S, C), where each of S shares of N is a block's; its threads lie in lines, `width` threads along C.
    each: y or parts (A, C), a thread for each.
    """

    @device
    def start(code):
        if code == 0:
            return wide(0)
        if code == 1:
            return wide(1)
        return wide(low) if code == 2 else wide(high)

    @device
    def along(x, code, at, first, end, step, inner):
        """The numbers first, first + step, ... of those that lie `inner` apart from x[at] on."""
        total = start(code)
        if code == 0:
            for row in range(first, end, step * PIECE):
                piece = real(0)
                for i in range(row, min(row + step * PIECE, end), step):
                    piece += x[at + i64(i) * inner]
                total += wide(piece)
        else:
            for i in range(first, end, step):
                total = joined_by(code, total, wide(x[at + i64(i) * inner]))
        return total

    @kernel("p" + letter + "iiiiiii", f"array_{name}_block")
    def block(x, parts, code, n, inner, width, share, shares, columns):
        sums = cuda.shared.array(256, wide)
        t = cuda.threadIdx.x
        lines = THREADS // width
        piece = cuda.blockIdx.x // columns
        column = cuda.blockIdx.x % columns * width + t % width
        outer = piece // shares
        first = piece % shares * share
        total = start(code)
        if column < inner:
            base = i64(outer) * n * inner + column
            total = along(x, code, base, first + t // width, min(first + share, n), lines, inner)
        sums[t] = total
        cuda.syncthreads()
        half = lines // 2
        while half > 0:
            if t < half * width:
                sums[t] = joined_by(code, sums[t], sums[t + half * width])
            cuda.syncthreads()
            half //= 2
        if t < width and column < inner:
            parts[i64(piece) * inner + column] = sums[t]

    @kernel("pp" + "iiiii", f"array_{name}_each")
    def each(x, y, code, n, inner, divisor, count):
        k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if k < count:
            total = along(x, code, i64(k // inner) * n * inner + k % inner, 0, n, 1, inner)
            y[k] = result(total, divisor)

    @kernel(letter + "p" + "iiiii", f"array_{name}_last")
    def last(parts, y, code, n, inner, divisor, count):
        k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if k < count:
            base = i64(k // inner) * n * inner + k % inner
            total = start(code)
            for i in range(n):
                total = joined_by(code, total, parts[base + i64(i) * inner])
            y[k] = result(total, divisor)

    return block, each, last


REAL = _reduction("d", "reduce", f64, float("-inf"), float("inf"), shared_out)
WHOLE = _reduction("l", "whole_reduce", i64, -(2**63), 2**63 - 1, undivided)


@kernel("plpl" + "iiiiiii")
def best(x, places, y, found, is_largest, has_places, n, inner, share, shares, count):
    """The first of the largest or smallest numbers, or NaN, in each share of N: y and found (A, S, C).

    A number's place is its number, or what `places` holds of it.
    """
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < count:
        piece = k // inner
        first = piece % shares * share
        base = i64(piece // shares) * n * inner + k % inner
        at = base + i64(first) * inner
        value = x[at]
        for i in range(first + 1, min(first + share, n)):
            here = base + i64(i) * inner
            number = x[here]
            better = number > value if is_largest else number < value
            if value == value and (better or number != number):
                value = number
                at = here
        y[k] = value
        found[k] = places[at] if has_places else (at - base) // inner


def _running(letter: str, name: str, wide):
    """A thread adds up a share of N, from what came before it on (`before`, (A, S, C)): y as x."""

    @kernel("p" + letter + "p" + "iiiiii", f"array_{name}")
    def loop(x, before, y, has_before, n, inner, share, shares, count):
        k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if k < count:
            piece = k // inner
            first = piece % shares * share
            base = i64(piece // shares) * n * inner + k % inner
            total = before[k] if has_before else wide(0)
            for i in range(first, min(first + share, n)):
                at = base + i64(i) * inner
                total += wide(x[at])
                y[at] = real(total)

    return loop


RUNNING = _running("d", "running", f64)
WHOLE_RUNNING = _running("l", "whole_running", i64)
