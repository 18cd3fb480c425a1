"""Kernels that read and write elements by their places, and the stable sort that makes their order certain.

Elements that share a place are sorted side by side first, and one thread adds them up, or writes the last: no atomics,
so that the bits are always the same. Bytes moved: the elements once, and their places once for each doubling in a sort.
"""

from __future__ import annotations

from .array_axes import THREADS, place
from .dialect import cuda, device, f64, i64, kernel, real

OUTSIDE = -(2**62)  # the place of what is outside


@kernel("pll" + "iiwwi")
def locate(index, before, places, has_before, length, stride, skipped, n):
    """places = before + index * stride, where a negative index counts from the end; OUTSIDE where it is outside."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < n:
        i = i64(index[k])
        if i < 0:
            i += length
        so_far = before[k] if has_before else skipped
        places[k] = so_far + i * stride if 0 <= i < length and so_far != OUTSIDE else OUTSIDE


@kernel("uluii" + "iiiii" + "wwwwww")
def gather(x, places, y, rest, n, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5):
    """y (P, rest) = x at each place and what belongs to it; all bits set, which is NaN, where that is outside."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < n:
        at = places[k // rest]
        inside = at != OUTSIDE
        y[k] = x[at + place(k % rest, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5)] if inside else real(-1)


@kernel("uluf" + "iii" + "iiiii" + "wwwwww")
def scatter(x, places, y, value, is_value, rest, n, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5):
    """y at each place = x (P, rest), or a number; no place twice, unless it is a number."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < n and places[k // rest] != OUTSIDE:
        to = places[k // rest] + place(k % rest, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5)
        y[to] = value if is_value else x[k]


@kernel("ullu" + "ii" + "iiiii" + "wwwwww")
def scatter_last(x, places, order, y, rest, n, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5):
    """y at each of the sorted places = the last of the rows of x that have it."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < n:
        p = k // rest
        if (p == n // rest - 1 or places[p + 1] != places[p]) and places[p] != OUTSIDE:
            to = places[p] + place(k % rest, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5)
            y[to] = x[order[p] * rest + k % rest]


def _adding(name: str, wide):
    @kernel("ullu" + "ii" + "iiiii" + "wwwwww", f"array_{name}")
    def loop(x, places, order, y, rest, n, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5):
        """y at each of the sorted places += the rows of x that have it, in their order."""
        k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        if k < n:
            p = k // rest
            if (p == 0 or places[p - 1] != places[p]) and places[p] != OUTSIDE:
                to = places[p] + place(k % rest, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5)
                total = wide(y[to])
                last = n // rest
                here = places[p]
                while p < last and places[p] == here:
                    total += wide(x[order[p] * rest + k % rest])
                    p += 1
                y[to] = real(total)

    return loop


scatter_add = _adding("scatter_add", f64)
whole_scatter_add = _adding("whole_scatter_add", i64)


@device
def is_before(a, b):
    """Whether a comes before b; NaN comes last."""
    return a < b or (b != b and a == a)


@kernel("plpl" + "iiii")
def merge(x, order, y, new_order, has_order, n, run, count):
    """Runs of sorted numbers in lines of n, two and two merged: each finds its place by bisection in the other run."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < count:
        line = i64(k // n) * n
        i = k % n
        begin = i // (2 * run) * (2 * run)
        middle = min(begin + run, n)
        is_first = i < middle
        low = middle if is_first else begin
        high = min(middle + run, n) if is_first else middle
        other = low
        value = x[line + i]
        while low < high:
            half = (low + high) // 2
            theirs = x[line + half]
            ahead = is_before(theirs, value) if is_first else not is_before(value, theirs)
            if ahead:
                low = half + 1
            else:
                high = half
        to = line + i + (low - other if is_first else low - middle)
        y[to] = value
        new_order[to] = order[k] if has_order else i64(i)


@kernel("bli" + "p")
def compact(mask, running, n, found):
    """The numbers of what is true, from the running count."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < n and mask[k] != 0:
        found[running[k] - 1] = real(k)
