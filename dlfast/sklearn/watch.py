"""When a training ends, as MLPClassifier ends its own: by the loss of the passes, or by the score of rows held out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..train import Callback


class Watch(Callback):
    """Keeps the attributes of an estimator that tell of its training, and stops it.

    held_out: (X, targets, weight) to judge by, None to judge by the training loss.
    """

    def __init__(self, net: Any, held_out: list | None, partial: bool) -> None:
        self.net, self.held_out, self.partial = net, held_out, partial
        self.failures, self.passes = 0, 0
        self.best: dict[str, np.ndarray] | None = None
        if held_out is not None:
            net.validation_scores_ = net.validation_scores_ or []
            net.best_validation_score_ = -np.inf if net.best_validation_score_ is None else net.best_validation_score_
            net.best_loss_ = None
            self.best = net.module_.state_dict()
        elif net.best_loss_ is None:
            net.best_loss_ = np.inf

    def on_epoch_end(self, run: Any) -> None:
        net, loss = self.net, run.history.epochs[-1]["train_loss"]
        self.passes += 1
        net.loss_ = loss
        net.loss_curve_.append(loss)
        net.t_ += run.means.count
        if net.verbose:
            print(f"Iteration {self.passes}, loss = {loss:.8f}")
        better = self._judge(run, loss) if self.held_out is not None else self._judge_loss(loss)
        self.failures = 0 if better else self.failures + 1
        if self.failures > net.n_iter_no_change and not self.partial:
            run.stop = f"no improvement of more than tol={net.tol} for {net.n_iter_no_change} passes"
            if net.verbose:
                print(f"Stopped after {self.passes} iterations: {run.stop}")

    def _judge_loss(self, loss: float) -> bool:
        net = self.net
        better = loss <= net.best_loss_ - net.tol
        net.best_loss_ = min(net.best_loss_, loss)
        return better

    def _judge(self, run: Any, loss: float) -> bool:
        net = self.net
        X, targets, weight = self.held_out  # type: ignore[misc]
        score = net._value(net._outputs_of(X), targets, weight)
        net.validation_scores_.append(score)
        if net.verbose:
            print(f"Validation score: {score:.6f}")
        better = score >= net.best_validation_score_ + net.tol
        if score > net.best_validation_score_:
            net.best_validation_score_ = score
            self.best = net.module_.state_dict()
        return better

    def finish(self, stopped: str | None) -> None:
        """The best weights, where rows were held out; a warning where the training was cut short."""
        net = self.net
        net.n_iter_ = net.n_iter_ + self.passes if self.partial else self.passes
        if self.best is not None:
            net.module_.load_state_dict(self.best)
        if stopped == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=5)
        elif stopped is None and not self.partial:
            warnings.warn(
                f"{type(net).__name__}: max_iter={net.max_iter} passes are done and the training has not converged",
                ConvergenceWarning,
                stacklevel=5,
            )
