"""NetRegressor: a network that gives numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import column_or_1d

from .. import functional as F
from .net import Net


class NetRegressor(RegressorMixin, Net):
    """A network as a scikit-learn regressor, with MLPRegressor's arguments where both have them.

    Arguments and attributes are those of `NetClassifier`, without class_weight and classes_; the loss is half the
    squared error, in the mean over the outputs. y (N,) or (N, outputs).
    """

    _numeric = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetRegressor:
        """Train on X (N, features) and y. sample_weight (N,): what each row counts. Returns self."""
        self._checked()
        return self._fit(X, y, sample_weight, not (self.warm_start and hasattr(self, "module_")), partial=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetRegressor:
        """One pass over X and y. Returns self."""
        self._checked()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        return self._fit(X, y, sample_weight, not hasattr(self, "module_"), partial=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, first: bool, partial: bool) -> NetRegressor:
        X, y = self._read(X, y, reset=first)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = y.reshape(len(y), -1).astype(np.float64)
        if not first and targets.shape[1] != self.n_outputs_:
            raise ValueError(f"y must have {self.n_outputs_} outputs as before, got {targets.shape[1]}")
        self._flat = y.ndim == 1
        self._learn(X, targets, sample_weight, targets.shape[1], partial)
        return self

    def _row_losses(self, outputs: Any, targets: np.ndarray) -> Any:
        return 0.5 * F.mse_loss(outputs, targets, reduction="none").mean(1)

    def _mean_loss(self, outputs: Any, targets: np.ndarray) -> Any:
        return 0.5 * F.mse_loss(outputs, targets)

    def _value(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        return float(r2_score(targets, outputs, sample_weight=weight))

    def predict(self, X: Any) -> np.ndarray:
        """Numbers (N,) or (N, outputs), as y was."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._flat else outputs
