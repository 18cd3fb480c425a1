"""What classifier and regressor share: arguments, the network, its training and its outputs."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import _check as check
from .. import init, nn, optim, random, train
from .._devices import beside, find, values_of
from ..tensor import unwrap
from ..train.placing import Place
from .watch import Watch

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}
_FLOATS = (np.float64, np.float32)
_SMALL = 1 << 13  # numbers in X: below, float64 costs nothing that anybody notices
_TRAINING = threading.RLock()  # dlfast has one generator, which a training sets: those of several threads take turns


class Net(BaseEstimator):
    """A network with scikit-learn's manners; see `NetClassifier` and `NetRegressor`."""

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
        device=None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.module = module
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.dtype = dtype
        self.device = device

    # What the two kinds say of themselves

    def _row_losses(self, outputs: Any, targets: np.ndarray) -> Any:
        """The loss of each row, a Tensor (N,)."""
        raise NotImplementedError

    def _mean_loss(self, outputs: Any, targets: np.ndarray) -> Any:
        """Their mean."""
        raise NotImplementedError

    def _value(self, outputs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """The score of these outputs, as `score` has it."""
        raise NotImplementedError

    # Training

    def _checked(self) -> None:
        """Raise ValueError or TypeError for arguments that do not fit, before anything is done."""
        name = type(self).__name__
        check.integer(name, "max_iter", self.max_iter, 1)
        if self.n_iter_no_change != np.inf:
            check.integer(name, "n_iter_no_change", self.n_iter_no_change, 1)
        if self.batch_size != "auto":
            check.integer(name, "batch_size", self.batch_size, 1)
        for option in ("alpha", "tol"):
            check.number(name, option, getattr(self, option), 0, np.inf)
        check.number(name, "validation_fraction", self.validation_fraction, 0, 1, low_open=True)
        check.choice(name, "solver", self.solver, ("adam", "sgd"))
        check.choice(name, "dtype", self.dtype, ("auto", "float32", "float64"))
        if self.device is not None:
            find(self.device)
        if self.module is None:
            check.choice(name, "activation", self.activation, tuple(ACTIVATIONS))
            for size in np.atleast_1d(np.asarray(self.hidden_layer_sizes)):
                check.integer(name, "hidden_layer_sizes", size.item(), 1)

    def _read(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, Any]:
        """X as floats, rows of one axis, or of more where they are for a module; and y, not yet looked at."""
        X, y = validate_data(
            self, X, y, reset=reset, dtype=_FLOATS, order="C", multi_output=True, y_numeric=self._numeric,
            allow_nd=self.module is not None,
        )  # fmt: skip
        return X, y

    _numeric = False

    def _learn(self, X: np.ndarray, targets: np.ndarray, sample_weight: Any, outputs: int, partial: bool) -> None:
        """Train on encoded targets: up to max_iter passes, or one more if `partial`."""
        goes_on = hasattr(self, "module_") and (partial or self.warm_start)
        dtype = self._dtype() if goes_on else self._first_dtype(X)
        X = X.astype(dtype, copy=False)
        targets = targets.astype(dtype, copy=False) if targets.dtype.kind == "f" else targets
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X, dtype=X.dtype)
        if weight is not None:
            if (weight < 0).any() or not weight.any():
                raise ValueError("sample_weight must not be negative, nor all zero")
            X, targets, weight = (part[weight > 0] for part in (X, targets, weight))  # of weight 0 is: not there
        with _TRAINING, self._random_numbers(goes_on):
            if not goes_on:
                self._start(X, outputs)
            held_out = None
            if self.early_stopping:
                X, targets, weight, *held_out = self._held_out(X, targets, weight)
            if not (partial and hasattr(self, "_optimizer")):
                self._optimizer = self._new_optimizer(X, weight)
            self._run(X, targets, weight, held_out, partial)
            self._random = random.get_state()

    @contextmanager
    def _random_numbers(self, goes_on: bool) -> Iterator[None]:
        """dlfast's generator at random_state, or where the training before has left it; afterwards as it was."""
        before = random.get_state()
        if not (goes_on and hasattr(self, "_random")):
            seed = check_random_state(self.random_state).randint(2**31 - 1)
            random.set_state(dict(np.random.default_rng(seed).bit_generator.state))
        else:
            random.set_state(self._random)
        try:
            yield
        finally:
            random.set_state(before)

    def _start(self, X: np.ndarray, outputs: int) -> None:
        """A network with its first weights, and an empty history."""
        self.module_ = self._network(X, outputs).to(X.dtype)
        self.n_outputs_ = outputs
        self.n_iter_, self.t_ = 0, 0
        self.loss_curve_: list[float] = []
        self.best_loss_: float | None = np.inf
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        if hasattr(self, "_optimizer"):
            del self._optimizer

    def _network(self, X: np.ndarray, outputs: int) -> nn.Module:
        if isinstance(self.module, nn.Module):
            return copy.deepcopy(self.module)
        if self.module is not None:
            made = self.module(X.shape[1] if X.ndim == 2 else X.shape[1:], outputs)
            if not isinstance(made, nn.Module):
                raise TypeError(
                    f"{type(self).__name__}: module must be a Module or a function of the numbers of features and "
                    f"outputs that gives one, got {type(made).__name__}"
                )
            return made
        sizes = (X.shape[1], *np.atleast_1d(np.asarray(self.hidden_layer_sizes, int)).tolist(), outputs)
        layers: list[nn.Module] = []
        for inputs, units in pairwise(sizes):
            linear = nn.Linear(inputs, units)
            init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                init.zeros_(linear.bias)
            layers += [linear, ACTIVATIONS[self.activation]()]
        return nn.Sequential(*layers[:-1])

    def _rows_of_a_batch(self, rows: int) -> int:
        return min(200 if self.batch_size == "auto" else self.batch_size, rows)

    def _new_optimizer(self, X: np.ndarray, weight: np.ndarray | None) -> optim.Optimizer:
        """alpha / 2 |W|^2 in the sum over a batch is weight decay of alpha / rows in its mean; none for biases."""
        rows = self._rows_of_a_batch(len(X)) * (1.0 if weight is None else float(weight.mean(dtype=np.float64)))
        parameters = list(self.module_.parameters())
        groups: Any = parameters
        if self.alpha:
            groups = [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.alpha / rows},
                {"params": [p for p in parameters if p.ndim <= 1]},
            ]
            groups = [group for group in groups if group["params"]]
        if self.solver == "adam":
            return optim.Adam(groups, self.learning_rate_init, (self.beta_1, self.beta_2), self.epsilon)
        nesterov = bool(self.nesterovs_momentum and self.momentum)
        return optim.SGD(groups, self.learning_rate_init, self.momentum, nesterov=nesterov)

    def _run(self, X: np.ndarray, targets: np.ndarray, weight: Any, held_out: Any, partial: bool) -> None:
        loss, read = self._mean_loss, targets
        if weight is not None:
            loss, read = self._weighted(targets, weight), np.arange(len(targets))
        watch = Watch(self, held_out, partial)
        history = train.fit(
            self.module_, (X, read), epochs=1 if partial else self.max_iter, batch_size=self._rows_of_a_batch(len(X)),
            loss=loss, optimizer=self._optimizer, metrics=[], callbacks=[watch], shuffle=self.shuffle, progress=False,
            device=self.device,
        )  # fmt: skip
        self.module_.eval()
        watch.finish(history.stopped)

    def _weighted(self, targets: np.ndarray, weight: np.ndarray) -> Callable:
        """The weighted mean of a batch, whose targets are the numbers of its rows."""

        def loss(outputs: Any, rows: np.ndarray) -> Any:
            rows = values_of(unwrap(rows))
            each, wanted = weight[rows], targets[rows]
            share = 1 / float(each.sum())
            each, wanted = (beside(part, unwrap(outputs)) for part in (each, wanted))
            return (self._row_losses(outputs, wanted) * each).sum() * share

        return loss

    def _held_out(self, X: np.ndarray, targets: np.ndarray, weight: Any) -> tuple:
        """Rows to train on, and rows to judge by: (X, targets, weight) of each."""
        from sklearn.model_selection import train_test_split

        arrays = [part for part in (X, targets, weight) if part is not None]
        stratify = targets if targets.ndim == 1 and targets.dtype.kind == "i" else None
        parts = train_test_split(
            *arrays, test_size=self.validation_fraction, stratify=stratify, random_state=random.seed64() % 2**32
        )
        kept, judged = parts[::2], parts[1::2]
        if len(judged[0]) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or give more data.")
        return (*kept, *(None,) * (3 - len(kept)), *judged, *(None,) * (3 - len(judged)))

    # Use

    def _outputs(self, X: Any) -> np.ndarray:
        """What the network gives for checked rows, (N, n_outputs_), in the dtype of X."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=_FLOATS, order="C", allow_nd=self.module is not None)
        return self._outputs_of(X).astype(X.dtype, copy=False)

    def _outputs_of(self, X: np.ndarray) -> np.ndarray:
        return train.predict(self.module_, X.astype(self._dtype(), copy=False), batch_size=1024)

    def _first_dtype(self, X: np.ndarray) -> np.dtype:
        """What a new network computes in."""
        small = X.dtype == np.float64 and X.size <= _SMALL
        return np.dtype(self.dtype if self.dtype != "auto" else np.float64 if small else np.float32)

    def _dtype(self) -> np.dtype:
        """What the network computes in."""
        return next((p.dtype for p in self.module_.parameters()), np.dtype(np.float32))

    def __getstate__(self) -> dict[str, Any]:
        """The optimizer is bound to the memory of the parameters: its state is kept in its place. The network lies on
        the CPU, for machines without the device.
        """
        state = dict(super().__getstate__())
        if "module_" in state and not Place(self.module_).on_cpu:
            state["module_"] = copy.deepcopy(self.module_).cpu()
        optimizer = state.pop("_optimizer", None)
        return state if optimizer is None else {**state, "_optimizer_state": optimizer.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        saved = state.pop("_optimizer_state", None)
        super().__setstate__(state)
        if saved is not None:
            self._optimizer = self._new_optimizer(np.empty((1, 1)), None)
            self._optimizer.load_state_dict(saved)
