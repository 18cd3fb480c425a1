"""Element by element: arithmetic, functions of one number, comparisons and choices, over arrays that broadcast.

The operation is a number, so that a few kernels serve all. Operands may be strided; a number in place of an array is an
argument of the kernel. Bytes moved: those of the arrays once.
"""

from __future__ import annotations

import math

from .array_axes import THREADS, place
from .dialect import cuda, device, i64, kernel, load4, real, store4

_ARITHMETIC = (
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "floor_divide", "remainder", "bitwise_and",
    "bitwise_or", "bitwise_xor", "left_shift", "right_shift",
)  # fmt: skip
ARITHMETIC = {name: code for code, name in enumerate(_ARITHMETIC)}
SIMPLE = 6  # the operations before this one are done four at a time
BITWISE = 9  # those from here on are of integers alone

_COMPARISONS = (
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor",
)  # fmt: skip
COMPARISONS = {name: code for code, name in enumerate(_COMPARISONS)}

_FUNCTIONS = (
    "negative", "absolute", "sign", "square", "reciprocal", "floor", "ceil", "trunc", "rint", "sqrt", "exp", "log",
    "log1p", "expm1", "tanh", "sin", "cos", "log2", "log10",
)  # fmt: skip
FUNCTIONS = {name: code for code, name in enumerate(_FUNCTIONS)}
WHOLE = 4  # the functions before this one give integers of integers

_TESTS = ("isnan", "isfinite", "isinf", "logical_not", "signbit")
TESTS = {name: code for code, name in enumerate(_TESTS)}


@device
def floored(x):
    """The largest integer that is not above x."""
    if not abs(x) < 4503599627370496:  # from 2^52 on all numbers are integers; NaN
        return x
    whole = real(i64(x))
    return whole - real(1) if whole > x else whole


@device
def simple(code, a, b):
    """What is done four at a time."""
    if code == 0:
        return a + b
    if code == 1:
        return a - b
    if code == 2:
        return a * b
    if code == 3:
        return a / b
    if code == 4:
        return a if a >= b or a != a else b
    return a if a <= b or a != a else b


@device
def rest_of(a, b):
    """a - floor(a / b) b, with the sign of b; NaN where b is 0."""
    rest = a % b if b != 0 else (a - a) / b
    return math.copysign(rest, b) if rest == 0 else rest


@device
def quotient(a, b):
    """floor(a / b), from the exact rest."""
    if b == 0:
        return a / b
    share = (a - rest_of(a, b)) / b
    whole = floored(share)
    return whole + real(1) if share - whole > real(0.5) else whole


@device
def arithmetic(code, a, b):
    if code < 6:
        return simple(code, a, b)
    if code == 6:
        return math.pow(a, b)
    if code == 7:
        return quotient(a, b)
    return rest_of(a, b)


@device
def whole_power(a, b):
    """a^b by squares; 0 for b < 0."""
    result = i64(0) if b < 0 else i64(1)
    while b > 0:
        if b & 1:
            result *= a
        a *= a
        b >>= 1
    return result


@device
def whole_quotient(a, b):
    """floor(a / b); 0 where b = 0."""
    if b == 0:
        return i64(0)
    if b == -1:
        return -a
    return i64(a // b)


@device
def whole_arithmetic(code, a, b):
    a = i64(a)
    b = i64(b)
    if code == 0:
        return a + b
    if code == 1:
        return a - b
    if code == 2:
        return a * b
    if code == 4:
        return max(a, b)
    if code == 5:
        return min(a, b)
    if code == 6:
        return whole_power(a, b)
    if code == 7:
        return whole_quotient(a, b)
    if code == 8:
        return i64(0) if b == 0 else a - whole_quotient(a, b) * b
    if code == 9:
        return a & b
    if code == 10:
        return a | b
    if code == 11:
        return a ^ b
    if code == 12:
        return a << b
    return a >> b


def _pairwise(name: str, formula):
    """The kernel y = formula(code, a, b) over strided arrays; mode 1: a is a number, mode 2: b is."""

    @kernel("uuuff" + "iii" + "iiiii" + "wwwwww" * 3, f"array_{name}")
    def loop(x, z, y, a, b, code, mode, n, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5, z0, z1, z2, z3, z4, z5,
             y0, y1, y2, y3, y4, y5):  # fmt: skip
        k = cuda.blockIdx.x * (THREADS * 4) + cuda.threadIdx.x
        for _ in range(4):
            if k < n:
                first = a if mode == 1 else x[place(k, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5)]
                second = b if mode == 2 else z[place(k, d1, d2, d3, d4, d5, z0, z1, z2, z3, z4, z5)]
                y[place(k, d1, d2, d3, d4, d5, y0, y1, y2, y3, y4, y5)] = real(formula(code, first, second))
            k += THREADS

    return loop


real_pairs = _pairwise("arithmetic", arithmetic)
whole_pairs = _pairwise("whole_arithmetic", whole_arithmetic)


@kernel("pppff" + "iii")
def arithmetic_wide(x, z, y, a, b, code, mode, n):
    """y = x op z, all contiguous; mode 1: a is in the place of x, mode 2: b in that of z."""
    i = (cuda.blockIdx.x * THREADS + cuda.threadIdx.x) * 4
    if i + 4 <= n:
        a0 = a1 = a2 = a3 = a
        b0 = b1 = b2 = b3 = b
        if mode != 1:
            a0, a1, a2, a3 = load4(x, i)
        if mode != 2:
            b0, b1, b2, b3 = load4(z, i)
        store4(y, i, simple(code, a0, b0), simple(code, a1, b1), simple(code, a2, b2), simple(code, a3, b3))
    else:
        for j in range(i, n):
            y[j] = simple(code, a if mode == 1 else x[j], b if mode == 2 else z[j])


@kernel("uubff" + "iii" + "iiiii" + "wwwwww" * 2)
def compare(x, z, y, a, b, code, mode, n, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5, z0, z1, z2, z3, z4, z5):
    k = cuda.blockIdx.x * (THREADS * 4) + cuda.threadIdx.x
    for _ in range(4):
        if k < n:
            p = a if mode == 1 else x[place(k, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5)]
            q = b if mode == 2 else z[place(k, d1, d2, d3, d4, d5, z0, z1, z2, z3, z4, z5)]
            if code == 0:
                found = p == q
            elif code == 1:
                found = p != q
            elif code == 2:
                found = p < q
            elif code == 3:
                found = p <= q
            elif code == 4:
                found = p > q
            elif code == 5:
                found = p >= q
            elif code == 6:
                found = p != 0 and q != 0
            elif code == 7:
                found = p != 0 or q != 0
            else:
                found = (p != 0) != (q != 0)
            y[k] = 1 if found else 0
        k += THREADS


@device
def rounded(x):
    """The nearest integer, the even one of two."""
    below = floored(x)
    part = x - below
    odd = floored(below * real(0.5)) * real(2) != below
    up = part > real(0.5) or (part == real(0.5) and odd)
    return math.copysign(below + real(1) if up else below, x)


@device
def function(code, x):
    if code == 0:
        return -x
    if code == 1:
        return abs(x)
    if code == 2:
        return real(1) if x > 0 else (real(-1) if x < 0 else x)
    if code == 3:
        return x * x
    if code == 4:
        return real(1) / x
    if code == 5:
        return math.copysign(floored(x), x)
    if code == 6:
        return math.copysign(-floored(-x), x)
    if code == 7:
        return math.copysign(floored(abs(x)), x)
    if code == 8:
        return rounded(x)
    if code == 9:
        return math.sqrt(x)
    if code == 10:
        return math.exp(x)
    if code == 11:
        return math.log(x)
    if code == 12:
        return math.log1p(x)
    if code == 13:
        return math.expm1(x)
    if code == 14:
        return math.tanh(x)
    if code == 15:
        return math.sin(x)
    if code == 16:
        return math.cos(x)
    if code == 17:
        return math.log2(x)
    return math.log10(x)


@device
def whole_function(code, x):
    x = i64(x)
    if code == 0:
        return -x
    if code == 1:
        return abs(x)
    if code == 2:
        return i64(1) if x > 0 else (i64(-1) if x < 0 else i64(0))
    return x * x


def _single(name: str, formula):
    """The kernel y = formula(code, x) over strided arrays."""

    @kernel("uu" + "ii" + "iiiii" + "wwwwww" * 2, f"array_{name}")
    def loop(x, y, code, n, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5, y0, y1, y2, y3, y4, y5):
        k = cuda.blockIdx.x * (THREADS * 4) + cuda.threadIdx.x
        for _ in range(4):
            if k < n:
                value = x[place(k, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5)]
                y[place(k, d1, d2, d3, d4, d5, y0, y1, y2, y3, y4, y5)] = real(formula(code, value))
            k += THREADS

    return loop


real_single = _single("function", function)
whole_single = _single("whole_function", whole_function)


@kernel("ub" + "ii" + "iiiii" + "wwwwww")
def test(x, y, code, n, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5):
    k = cuda.blockIdx.x * (THREADS * 4) + cuda.threadIdx.x
    for _ in range(4):
        if k < n:
            value = x[place(k, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5)]
            if code == 0:
                found = value != value
            elif code == 1:
                found = value - value == 0
            elif code == 2:
                found = value == value and value - value != 0
            elif code == 3:
                found = value == 0
            else:
                found = math.copysign(real(1), value) < 0
            y[k] = 1 if found else 0
        k += THREADS


@kernel("buuuff" + "ii" + "iiiii" + "wwwwww" * 3)
def choose(chosen, x, z, y, a, b, mode, n, d1, d2, d3, d4, d5, c0, c1, c2, c3, c4, c5, x0, x1, x2, x3, x4, x5,
           z0, z1, z2, z3, z4, z5):  # fmt: skip
    """y = x where chosen, else z; mode 1: a is in the place of x, 2: b in that of z, 3: both."""
    k = cuda.blockIdx.x * (THREADS * 4) + cuda.threadIdx.x
    for _ in range(4):
        if k < n:
            if chosen[place(k, d1, d2, d3, d4, d5, c0, c1, c2, c3, c4, c5)] != 0:
                y[k] = a if mode & 1 else x[place(k, d1, d2, d3, d4, d5, x0, x1, x2, x3, x4, x5)]
            else:
                y[k] = b if mode & 2 else z[place(k, d1, d2, d3, d4, d5, z0, z1, z2, z3, z4, z5)]
        k += THREADS
