"""The shared checks of arguments: what they let through, what they refuse, what they remember."""

import numpy as np
import pytest

from dlfast import _check as check
from dlfast import functional as F
from dlfast.nn import Parameter


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


class TestIndices:
    @pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.uint64])
    def test_good_ones_become_int64(self, dtype):
        found = check.indices("op", "i", np.array([0, 2, 1], dtype), 3)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, [0, 2, 1])

    def test_int64_is_not_copied(self):
        values = np.arange(6)[::2]
        assert check.indices("op", "i", values, 5) is values

    @pytest.mark.parametrize("bad", [-1, 3, 2**62, -(2**63)])
    def test_bad_ones_are_named(self, bad):
        for values in (np.array([0, bad, 1]), np.array([[0, 9], [bad, 9], [1, 9]])[:, 0]):
            with pytest.raises(ValueError, match=rf"i must be in 0\.\.2, got {bad}"):
                check.indices("op", "i", values, 3)
        assert check.indices("op", "i", np.array([bad, 1]), 3, ignored=bad)[0] == bad

    def test_nothing_and_a_single_one(self):
        assert check.indices("op", "i", np.empty((0, 2), np.int64), 0).shape == (0, 2)
        assert check.indices("op", "i", np.array(1), 2).shape == ()
        with pytest.raises(ValueError, match="got 2"):
            check.indices("op", "i", np.array(2), 2)

    def test_floats_are_refused(self):
        with pytest.raises(TypeError, match="with NaN among them"):
            check.indices("op", "i", np.array([np.nan]), 2)


class TestFitsLinear:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("lead", [(), (0,), (2, 3)])
    def test_what_fits(self, lead, dtype):
        assert check.fits_linear(ones(*lead, 4, dtype=dtype), ones(5, 4, dtype=dtype), ones(5, dtype=dtype))
        assert check.fits_linear(ones(*lead, 4, dtype=dtype), ones(5, 4, dtype=dtype), None)

    @pytest.mark.parametrize(
        "arrays",
        [
            (ones(2, 4), ones(5, 3), None),
            (ones(2, 4), ones(4), None),
            (ones(), ones(5, 1), None),
            (ones(2, 4), ones(5, 4), ones(4)),
            (ones(2, 4), ones(5, 4), ones(5, 1)),
            (ones(2, 4), ones(5, 4), ones(5, dtype=np.float64)),
            (ones(2, 4), ones(5, 4, dtype=np.float64), None),
            (ones(2, 4, dtype=np.int64), ones(5, 4, dtype=np.int64), None),
        ],
    )
    def test_what_does_not(self, arrays):
        assert not check.fits_linear(*arrays)
        with pytest.raises((TypeError, ValueError), match="linear: "):
            F.linear(*arrays)

    def test_subclasses_take_the_long_way(self):
        x = ones(2, 4).view(type("Sub", (np.ndarray,), {}))
        assert not check.fits_linear(x, ones(5, 4), None)
        np.testing.assert_array_equal(F.linear(x, Parameter(ones(5, 4))), np.full((2, 5), 4))


class TestRemembered:
    def test_equal_arguments_of_other_types_are_checked_for_themselves(self):
        calls = []

        @check.remembered
        def function(*values):
            calls.append(values)
            return len(calls)

        assert function("op", (1, (2, 3)), None) == function("op", (1, (2, 3)), None) == 1
        assert function("op", (True, (2, 3)), None) == 2
        assert function("op", (1.0, (2, 3)), None) == 3
        assert function("op", [1, (2, 3)], None) == 4
        assert function("op", (1, (2, 3)), None) == 1

    def test_any_number_of_arguments(self):
        function = check.remembered(lambda value: (value,))
        assert [function(value) for value in range(3000)] == [(value,) for value in range(3000)]
        assert function(7) == (7,)
        assert function(7) is function(7)

    def test_geometry_that_is_no_integer_stays_an_error(self):
        x, w = ones(1, 5, 5, 1), ones(2, 3, 3, 1)
        for stride in (True, 1.0, (1, 1.0)):
            F.conv2d(x, w, None, 1)
            F.conv2d(x, w, None, (1, 1))
            with pytest.raises(TypeError, match="stride must be an integer"):
                F.conv2d(x, w, None, stride)
            F.max_pool2d(x, 2, 1)
            with pytest.raises(TypeError, match="stride must be an integer"):
                F.max_pool2d(x, 2, stride)
