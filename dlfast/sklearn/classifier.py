"""NetClassifier: a network that tells classes apart, or labels that go together."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from .. import functional as F
from .net import Net


class NetClassifier(ClassifierMixin, Net):
    """A network as a scikit-learn classifier, with MLPClassifier's arguments where both have them.

    hidden_layer_sizes, activation
        Linear layers with weights from Xavier's uniform distribution and biases of 0. Beside MLPClassifier's "relu",
        "tanh", "logistic" and "identity": "leaky_relu", "elu", "gelu", "silu", "softplus".
    module
        Any network in their place: a Module, of which each fit trains a copy from its own first weights; or a function
        or class called as module(features, outputs), features the shape of a row where rows have more than one axis.
        X may have more than two axes then: images are (N, H, W, C). It gives logits (N, outputs).
    solver
        "adam" (beta_1, beta_2, epsilon) or "sgd" (momentum, nesterovs_momentum), with step size learning_rate_init.
    alpha
        alpha / 2 times the squares of all weights (not biases), relative to the sum of the losses of a batch.
    batch_size
        "auto" is min(200, rows).
    max_iter, tol, n_iter_no_change, early_stopping, validation_fraction
        Training ends after max_iter passes, or when the loss has not sunk by tol for n_iter_no_change passes; with
        early_stopping when the score of a validation_fraction of the rows has not risen so, and the weights are then
        those of the best pass.
    random_state
        The same number, the same bits. dlfast's own generator is left as it was.
    warm_start, partial_fit
        Go on from the weights that are there; partial_fit makes one pass, with the optimizer's state.
    class_weight
        None, "balanced" or {class: weight}, which multiply sample_weight.

    dtype
        What is computed in: "float32", "float64", or "auto": float32, which takes half the time, but float64 for X of
        float64 with no more than 8,192 numbers. Probabilities and predictions have the dtype of X.
    device
        None or "cpu", or "cuda": where the network learns and computes. It is pickled as one of the CPU.

    y may be classes of any kind, or a matrix of zeros and ones
    (N, labels) for labels that go together. Attributes: module_ (the trained dlfast network), classes_, n_iter_, loss_,
    loss_curve_, best_loss_, validation_scores_, best_validation_score_, t_ (rows seen), n_features_in_, n_outputs_.
    """

    classes_: np.ndarray
    _several: bool  # labels to a row

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        module=None,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate_init=0.001,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        dtype="auto",
        class_weight=None,
        device=None,
    ):
        super().__init__(
            hidden_layer_sizes, activation, module=module, solver=solver, alpha=alpha, batch_size=batch_size,
            learning_rate_init=learning_rate_init, max_iter=max_iter, shuffle=shuffle, random_state=random_state,
            tol=tol, verbose=verbose, warm_start=warm_start, momentum=momentum, nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping, validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2,
            epsilon=epsilon, n_iter_no_change=n_iter_no_change, dtype=dtype, device=device,
        )  # fmt: skip
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetClassifier:
        """Train on X (N, features) and y (N,) or (N, labels). sample_weight (N,): what each row counts. Returns self.

        Raises ValueError for other classes than before with warm_start.
        """
        self._checked()
        goes_on = self.warm_start and hasattr(self, "module_")
        X, y = self._read(X, y, reset=not goes_on)
        y, classes, several = _classes_in(y)
        if goes_on and not (several == self._several and np.array_equal(classes, self.classes_)):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )
        self.classes_, self._several = classes, several
        self._learn(X, self._encoded(y), self._weights(X, y, sample_weight), len(classes), partial=False)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> NetClassifier:
        """One pass over X and y. classes: all there will be, in the first call, unless y has them. Returns self."""
        self._checked()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.class_weight == "balanced":
            raise ValueError("partial_fit cannot know how often classes will occur; give class_weight as a dictionary")
        first = not hasattr(self, "module_")
        X, y = self._read(X, y, reset=first)
        y, found, several = _classes_in(y)
        if first:
            self.classes_, self._several = found if classes is None else np.unique(np.asarray(classes)), several
        elif classes is not None and not np.array_equal(self.classes_, np.unique(np.asarray(classes))):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call, {self.classes_!r}")
        if several != self._several or not np.isin(found, self.classes_).all():
            raise ValueError(f"`y` has classes {found} that are not among `self.classes_`, {self.classes_}")
        outputs = len(self.classes_)
        self._learn(X, self._encoded(y), self._weights(X, y, sample_weight), outputs, partial=True)
        return self

    def _weights(self, X: np.ndarray, y: np.ndarray, sample_weight: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        own = compute_sample_weight(self.class_weight, y)
        return own if sample_weight is None else own * _check_sample_weight(sample_weight, X)

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        """Numbers of classes, or zeros and ones."""
        return y.astype(np.float64) if self._several else np.searchsorted(self.classes_, y)

    def _row_losses(self, outputs: Any, targets: np.ndarray) -> Any:
        if self._several:
            return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(1)
        return F.cross_entropy(outputs, targets, reduction="none")

    def _mean_loss(self, outputs: Any, targets: np.ndarray) -> Any:
        return self._row_losses(outputs, targets).mean() if self._several else F.cross_entropy(outputs, targets)

    def _value(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        predicted = outputs > 0 if self._several else outputs.argmax(1)
        return float(accuracy_score(targets, predicted, sample_weight=weight))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row; or the labels, a matrix of zeros and ones."""
        outputs = self._outputs(X)
        return (outputs > 0).astype(int) if self._several else self.classes_[outputs.argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (N, classes), whose rows sum to 1; of labels that go together, each by itself."""
        outputs = self._outputs(X)
        return (F.sigmoid(outputs) if self._several else F.softmax(outputs, 1)).data

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Their logarithms."""
        outputs = self._outputs(X)
        return (-F.softplus(-outputs) if self._several else F.log_softmax(outputs, 1)).data


def _classes_in(y: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """y, the classes or the numbers of the labels in it, and whether there are several labels to a row."""
    check_classification_targets(y)
    if type_of_target(y, input_name="y") == "multilabel-indicator":
        y = np.asarray(y)
        return y, np.arange(y.shape[1]), True
    y = column_or_1d(y, warn=True)
    return y, np.unique(y), False
