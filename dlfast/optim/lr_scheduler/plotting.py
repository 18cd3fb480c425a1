"""Pictures of schedules."""

from __future__ import annotations

import numpy as np

from ... import _check as check
from ..._files import write_atomically


def draw(curves: dict[str, np.ndarray], path=None):
    """Curves (steps, groups) side by side in one figure, written to ``path`` where it is given."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot needs matplotlib: install dlfast with its extra `plots`") from error
    figure = Figure(figsize=(max(5, 3.2 * len(curves)), 3.2), layout="constrained")
    for position, (title, rates) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), position)
        alike = (rates == rates[:, :1]).all()
        for group in range(1 if alike else rates.shape[1]):
            axes.plot(np.arange(len(rates)), rates[:, group], label=f"group {group}")
        axes.set(title=title, xlabel="step", ylabel="learning rate" if position == 1 else "")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if not alike:
            axes.legend()
    if path is not None:
        write_atomically(path, figure.savefig)
    return figure


def plot_schedules(path=None, steps: int = 100, lr: float = 0.1):
    """The notes' picture: constant, step decay, exponential and cosine annealing with its rise, over `steps` steps.

    Drawn into the image file ``path``, if given; returns matplotlib's Figure. steps >= 8. Raises ImportError without
    matplotlib (the extra ``plots``).
    """
    from ...tensor import Parameter
    from ..sgd import SGD
    from . import ConstantLR, CosineWithWarmup, ExponentialLR, StepLR

    steps = check.integer("plot_schedules", "steps", steps, least=8)

    def optimizer() -> SGD:
        return SGD([Parameter(np.zeros(1))], lr=lr)

    schedules = {
        "Constant": ConstantLR(optimizer(), factor=1.0),
        "Step decay": StepLR(optimizer(), step_size=-(-steps // 3), gamma=0.5),
        "Exponential": ExponentialLR(optimizer(), gamma=0.02 ** (1 / steps)),
        "Cosine annealing": CosineWithWarmup(optimizer(), steps, warmup_steps=steps // 4),
    }
    return draw({name: schedule.rates(steps) for name, schedule in schedules.items()}, path)
