"""Networks as scikit-learn estimators: `NetClassifier` and `NetRegressor`, with the arguments of MLPClassifier.

Needs scikit-learn, the extra `sklearn`. Pipelines, grid searches, `clone` and pickling work as with any estimator.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as _error:
    raise ImportError("dlfast.sklearn needs scikit-learn >= 1.6: install dlfast with its extra `sklearn`") from _error

from .classifier import NetClassifier
from .regressor import NetRegressor

__all__ = ["NetClassifier", "NetRegressor"]
