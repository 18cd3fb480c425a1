"""scikit-learn's digits, 1,797 images of 8 x 8: the same passes of NetClassifier and MLPClassifier of the same size.

scikit-learn's products run on its BLAS, whose threads are set to the same number where threadpoolctl is installed.
"""

import warnings
from contextlib import nullcontext

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from dlfast.sklearn import NetClassifier

PASSES = 40
X, Y = load_digits(return_X_y=True)
TRAIN, TEST = slice(0, 1400), slice(1400, None)


def train(kind, dtype):
    model = kind((100,), max_iter=PASSES, n_iter_no_change=PASSES, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the passes are few on purpose
        return model.fit(X[TRAIN].astype(dtype), Y[TRAIN])


def blas_threads(count):
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(count, "blas")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", [NetClassifier, MLPClassifier], ids=lambda kind: kind.__name__)
def test_digits(kind, dtype, benchmark, threads):
    benchmark.group = f"digits, {PASSES} passes, {dtype}, {threads} thread{'s' if threads > 1 else ''}"
    benchmark.name = kind.__name__
    with blas_threads(threads):
        accuracy = train(kind, dtype).score(X[TEST], Y[TEST])
        benchmark.extra_info["accuracy"] = accuracy
        assert accuracy > 0.85
        benchmark(train, kind, dtype)
