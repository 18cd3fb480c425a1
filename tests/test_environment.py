"""Environment variables that are not understood are told, once and on stderr; the others are not."""

import pytest
from test_threads import python

from dlfast.kernels.environment import SPIN_US, VARIABLES, complaints, spin_us
from dlfast.kernels.runtime.machine import isa

PATHS = ("DLFAST_CACHE_DIR", "DLFAST_DATA_DIR")
UNDERSTOOD = [
    {},
    dict.fromkeys(VARIABLES, ""),
    {"DLFAST_ISA": isa(), "DLFAST_SPIN_US": "0", "DLFAST_QUIET": "1"},
    {"DLFAST_SPIN_US": " 1000000 ", "DLFAST_QUIET": " 0 ", "OTHER": "x"},
    dict.fromkeys(PATHS, "any folder"),
]


@pytest.mark.parametrize("environ", UNDERSTOOD, ids=str)
def test_nothing_is_said_of_what_is_understood(environ):
    assert complaints(isa(), environ) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DLFAST_ISA", "avx3", "must be one of base, avx2, avx512, got 'avx3': using avx2"),
        ("DLFAST_ISA", "AVX2", "must be one of base, avx2, avx512, got 'AVX2': using avx2"),
        ("DLFAST_ISA", "avx512", "DLFAST_ISA=avx512, but this processor has not all of it: using avx2"),
        *(("DLFAST_SPIN_US", value, f"in 0..1000000, got '{value}': using 200") for value in ("-1", "1ms", "1e3", "²")),
        ("DLFAST_SPIN_US", "1000001", "in 0..1000000, got '1000001': using 200"),
        ("DLFAST_QUIET", "no", "must be 0 or 1, got 'no': using 1"),
        ("DLFAST_THREADS", "2", "no variable of dlfast and has no effect; did you mean DLFAST_NUM_THREADS?"),
        ("DLFAST_X", "2", "no variable of dlfast and has no effect; known are DLFAST_CACHE_DIR, "),
    ],
)
def test_what_is_not_understood_is_told(name, value, words):
    (sentence,) = complaints("avx2", {name: value})
    assert name in sentence
    assert words in sentence


@pytest.mark.parametrize(("value", "microseconds"), [("", SPIN_US), ("50", 50), ("0", 0), ("soon", SPIN_US)])
def test_spinning(value, microseconds):
    assert spin_us({"DLFAST_SPIN_US": value}) == microseconds


def test_said_once_by_an_import():
    script = "import dlfast; dlfast.functional.relu([1.0]); import dlfast.kernels.cython.conv"
    status, out, errors = python(script, DLFAST_ISA="sse9", DLFAST_SPIN_US="soon")
    assert (status, out) == (0, "")
    lines = [line for line in errors.splitlines() if line.startswith("dlfast: ")]
    assert [line.split()[1] for line in lines] == ["DLFAST_ISA", "DLFAST_SPIN_US"]
