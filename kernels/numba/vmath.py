"""Elementary functions that LLVM turns into SIMD code: no branches, no tables, no calls.

Each takes and returns one float32 or float64; inside a loop over contiguous arrays it becomes vector instructions. NaN
goes through, infinities give the limit, nothing overflows on the way, and results below the normal range may be 0. The
largest errors found, in units of the last place (samples of the whole range of both types, against higher precision;
tests/test_vmath.py holds them): exp_negative, expm1_negative 1.1, log1p_exp, softplus 1.9, sigmoid, tanh 2.5, normal 5.

A polynomial has two lists of coefficients, lowest power first, for float32 and for float64; they are minimax fits
(Remez). Source for the reductions: W. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980).
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import helper

LOG2E = 1 / math.log(2)
LN2_HIGH = (0.693359375, 6.93147180369123816490e-01)  # few bits: the product with n is exact
LN2_LOW = (-2.12194440e-4, 1.90821492927058770002e-10)
LOWEST = (-88.0, -709.2)  # exp is below the normal range
PHI_CLIP = (15.0, 39.0)  # the normal distribution function of minus this is 0

# (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2.
EXP = (
    (5.0000001e-1, 1.66665129e-1, 4.16661874e-2, 8.36959802e-3, 1.39517128e-3),
    (5.000000000000014e-1, 1.6666666666666702e-1, 4.1666666666503155e-2, 8.3333333333050521e-3, 1.388888895052114e-3,
     1.984126992200737e-4, 2.4801486060697106e-5, 2.7557212189341114e-6, 2.7632742540081076e-7, 2.5119160404164617e-8),
)  # fmt: skip
# (log((1 + s) / (1 - s)) / s - 2) / s^2 as a function of s^2 <= 1/9.
LOG1P = (
    (6.66666674e-1, 3.99996963e-1, 2.85928109e-1, 2.17000404e-1, 2.3253783e-1),
    (6.6666666666666667e-1, 3.99999999999995e-1, 2.8571428571606778e-1, 2.2222222197466017e-1, 1.8181819943112841e-1,
     1.5384542446104144e-1, 1.3335209727110791e-1, 1.1733885073948428e-1, 1.0848194705777482e-1, 7.4793599672793916e-2,
     1.5653603306023878e-1),
)  # fmt: skip
# Phi(-z) exp(z^2 / 2) (z + 4) as a function of t = (z - 4) / (z + 4), z >= 0. Source of the form: M. Shepherd and
# J. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x" (1981).
PHI = (
    (7.55285135e-1, -6.0789658e-1, 3.87136916e-1, -1.86523656e-1, 6.04034897e-2, -7.52400605e-3, -3.51021108e-3,
     1.56841031e-3, 1.74658752e-4, -1.34197586e-4),
    (7.5528513041575146e-1, -6.0789664197189076e-1, 3.8713740074222308e-1, -1.8652185795979847e-1,
     6.0396574890530443e-2, -7.5401889624339976e-3, -3.4796923594611474e-3, 1.6308183983663408e-3,
     1.3334422830305047e-4, -2.3109448957660827e-4, -1.9077101793405329e-6, 3.5142687016601027e-5,
     7.1434284268150371e-7, -5.9146212067705082e-6, -6.2318635307416377e-7, 1.0120542877921737e-6,
     2.5987343523689223e-7, -1.455886924500228e-7, -7.1697039370455742e-8, 9.1099753296872734e-9,
     1.0675706499575448e-8, 1.5597123536410183e-9),
)  # fmt: skip

# A call would keep a loop from becoming vector code. "contract": a product and a sum become one instruction.
inlined = helper(forceinline=True)
fused = helper(forceinline=True, fastmath={"contract"})


def _mantissa_bits(kind) -> int:
    return 23 if kind.bitwidth == 32 else 52


@intrinsic
def real(typing, x, value):
    """`value` in the type of x; of a pair the first for float32, the second for float64."""
    pair = isinstance(value, types.BaseTuple)

    def codegen(context, builder, signature, values):
        number, kind = values[1], value
        if pair:
            number, kind = builder.extract_value(number, int(x.bitwidth == 64)), value[0]
        return context.cast(builder, number, kind, x)

    return x(x, value), codegen


@intrinsic
def maximum(typing, a, b):
    """The larger of two; NaN if either is."""

    def codegen(context, builder, signature, values):
        kind = ir.FunctionType(values[0].type, [values[0].type] * 2)
        name = f"llvm.maximum.f{a.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)

    return a(a, a), codegen


@intrinsic
def where(typing, condition, a, b):
    """a where the condition holds, else b: both are known, so nothing branches."""

    def codegen(context, builder, signature, values):
        return builder.select(*values)

    return a(types.boolean, a, a), codegen


@intrinsic
def polynomial(typing, x, single, double):
    """c[0] + x (c[1] + x (c[2] + ...)) with the coefficients for the type of x."""

    def codegen(context, builder, signature, values):
        kind, packed = (single, values[1]) if x.bitwidth == 32 else (double, values[2])
        terms = [context.cast(builder, term, kind.dtype, x) for term in cgutils.unpack_tuple(builder, packed)]
        total = terms.pop()
        while terms:
            product = builder.fmul(total, values[0], flags=("contract",))
            total = builder.fadd(product, terms.pop(), flags=("contract",))
        return total

    return x(x, single, double), codegen


@intrinsic
def power_of_two(typing, n):
    """2^n for a whole number n in the range of normal exponents, -126..127 or -1022..1023; 0 for the one below."""

    def codegen(context, builder, signature, values):
        bits = _mantissa_bits(n)
        word = ir.IntType(n.bitwidth)
        # In a float this large the last bit counts ones, so the low bits are n + bias; the shift drops the others.
        shifter = ir.Constant(values[0].type, 1.5 * 2.0**bits + (127 if bits == 23 else 1023))
        low = builder.bitcast(builder.fadd(values[0], shifter), word)
        return builder.bitcast(builder.shl(low, ir.Constant(word, bits)), values[0].type)

    return n(n), codegen


@intrinsic
def nearest(typing, x):
    """x rounded to a whole number, ties to even; |x| < 2^22 or 2^51."""

    def codegen(context, builder, signature, values):
        shifter = ir.Constant(values[0].type, 1.5 * 2.0 ** _mantissa_bits(x))
        return builder.fsub(builder.fadd(values[0], shifter), shifter)

    return x(x), codegen


@intrinsic
def head(typing, x):
    """The leading half of the digits of x, so that the square of the result is exact."""

    def codegen(context, builder, signature, values):
        word = ir.IntType(x.bitwidth)
        keep = -1 << (_mantissa_bits(x) + 2) // 2
        return builder.bitcast(builder.and_(builder.bitcast(values[0], word), ir.Constant(word, keep)), values[0].type)

    return x(x), codegen


@intrinsic
def with_sign(typing, x, sign):
    """|x| with the sign of `sign`."""

    def codegen(context, builder, signature, values):
        kind = values[0].type
        copysign = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind, kind]), f"llvm.copysign.f{x.bitwidth}"
        )
        return builder.call(copysign, values)

    return x(x, x), codegen


@inlined
def clip(x, low, high):
    """x limited to low..high; NaN stays."""
    x = low if x < low else x
    return high if x > high else x


@helper
def gated(x, gate):
    """x * gate, and 0 where the gate is 0."""
    product = x * gate
    return gate if gate == 0 else product


@fused
def _exp_parts(x, rest):
    """(n, m) with exp(x + rest) = 2^n (1 + m), n whole, |m| < 0.42; rest is a small correction to x."""
    n = nearest(x * real(x, LOG2E))
    r = x - n * real(x, LN2_HIGH) - n * real(x, LN2_LOW) + rest
    return n, polynomial(r, *EXP) * (r * r) + r


@fused
def _exp_sum(x, rest):
    """exp(x + rest) for x <= 0: below LOWEST n is one less than the least exponent, whose power of two is 0."""
    lowest = real(x, LOWEST)
    n, m = _exp_parts(lowest if x < lowest else x, rest)
    scale = power_of_two(n)
    return scale + scale * m


@inlined
def exp_negative(x):
    """e^x for x <= 0; 0 where that is below the normal range."""
    return _exp_sum(x, real(x, 0))


@fused
def exp_gradual(x):
    """e^x for x <= 0; below the normal range with fewer digits but not 0, for those who multiply it with a large x.

    By way of two factors 2^(n/2), for neither is out of range there.
    """
    lowest = real(x, (-104.0, -746.0))
    n, m = _exp_parts(lowest if x < lowest else x, real(x, 0))
    half = nearest(n * real(x, 0.5))
    scale = power_of_two(half)
    return (scale + scale * m) * power_of_two(n - half)


@fused
def expm1_negative(x):
    """e^x - 1 for x <= 0."""
    n, m = _exp_parts(clip(x, real(x, -60), real(x, 0)), real(x, 0))
    scale = power_of_two(n)
    return scale * m + (scale - real(x, 1))


@inlined
def tanh(x):
    """tanh x = -m / (2 + m) for x >= 0, m = exp(-2 x) - 1; odd."""
    m = expm1_negative(real(x, -2) * abs(x))
    return with_sign(m / (real(x, 2) + m), x)


@inlined
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    one = real(x, 1)
    e = exp_negative(-abs(x))
    return (e if x < 0 else one) / (one + e)


@fused
def log1p_exp(x):
    """log(1 + f), f = exp(-|x|), as f - (f^2 / 2 - s (f^2 / 2 + s^2 p(s^2))), s = f / (2 + f).

    Source: fdlibm, s_log1p.c.
    """
    f = exp_negative(-abs(x))
    s = f / (real(x, 2) + f)
    square = s * s
    half = real(x, 0.5) * f * f
    return f - (half - s * (half + square * polynomial(square, *LOG1P)))


@inlined
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    return where(x < 0, real(x, 0), x) + log1p_exp(x)


@fused
def normal(x):
    """(Phi(x), exp(-x^2 / 2)): the normal distribution function and its derivative times sqrt(2 pi).

    Phi(-z) = exp(-z^2 / 2) p(t) u, u = 1 / (z + 4), t = (z - 4) / (z + 4) = 1 - 8 u, for z >= 0. The square is formed
    in two parts, as its rounding error would be multiplied by exp. Source: fdlibm, s_erf.c.
    """
    one, most = real(x, 1), real(x, PHI_CLIP)
    z = abs(x)
    z = most if z > most else z
    h = head(z)
    density = _exp_sum(real(x, -0.5) * h * h, real(x, -0.5) * (z - h) * (z + h))
    u = one / (z + real(x, 4))
    tail = density * (polynomial(one - real(x, 8) * u, *PHI) * u)
    return (tail if x < 0 else one - tail), density
