"""What `dlfast forecast` does: an LSTM or a GRU learns a series that ships with the package, and forecasts its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from .. import functional as F
from .. import models, optim, train
from .._files import write_atomically
from ..data import Series, load
from ..random import manual_seed
from ..tensor import Tensor, no_grad

SERIES = ("sunspots", "co2", "elnino")
WIDTH = {"sunspots": 24, "co2": 104, "elnino": 24}
_UNIT = {"sunspots": "sunspot number", "co2": "CO2 in ppm", "elnino": "degrees Celsius"}
_HELD_OUT = 0.2  # the last part, which is not learned from
_LR = 5e-3


class Forecast(NamedTuple):
    """What was forecast for the held-out end of a series, in its unit.

    times, values: of the whole series. one_step: each from the true values before it; last: the value before each, the
    forecast to beat; free: the first steps of the end as one forecast, from the values before them.
    """

    name: str
    kind: str
    times: np.ndarray
    values: np.ndarray
    one_step: np.ndarray
    last: np.ndarray
    free: np.ndarray

    @property
    def end(self) -> slice:
        """Where the held-out end lies in the series."""
        return slice(len(self.values) - len(self.one_step), None)

    def error(self, of: str = "one_step") -> float:
        """Root of the mean square error of "one_step", "free" or "last"."""
        found = getattr(self, of)
        return float(np.sqrt(np.mean((found - self.values[self.end][: len(found)]) ** 2)))


def series(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(times in years, values) of one of `SERIES`, float32; weeks without a measurement of CO2 are interpolated."""
    data: Series = load("series")
    if name == "sunspots":
        return data.sunspots_year, data.sunspots
    if name == "elnino":
        return (data.elnino[:, :1] + np.arange(12) / 12).ravel(), data.elnino[:, 1:].ravel()
    weeks, known = np.arange(len(data.co2_weekly)), np.isfinite(data.co2_weekly)
    filled = np.interp(weeks, weeks[known], data.co2_weekly[known])
    return 1958 + 87 / 365 + weeks * (7 / 365.25), filled.astype(np.float32)


def forecast(name: str, kind: str, epochs: int = 40, seed: int = 0, device: str = "cpu") -> Forecast:
    """Train on the first four fifths of a series and forecast the last; the same seed gives the same bits."""
    times, values = series(name)
    width, count = WIDTH[name], round(_HELD_OUT * len(values))
    mean, deviation = values[:-count].mean(), values[:-count].std()
    scaled = ((values - mean) / deviation)[:, None].astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(scaled[:-1, 0], width)[..., None].copy()
    targets = scaled[width:]
    manual_seed(seed)
    model = models.forecaster(kind=kind)
    train.fit(
        model,
        (windows[:-count], targets[:-count]),
        epochs=epochs,
        batch_size=32,
        loss=F.mse_loss,
        optimizer=optim.Adam(model.parameters(), lr=_LR),
        progress=False,
        device=device,
    )
    model.eval()
    end = Tensor(windows[-count:]).to(device)
    with no_grad():
        scaled_forecasts = model(end), model.extend(end[:1], width)[0]
    one_step, free = (mean + deviation * part.cpu().numpy()[:, 0] for part in scaled_forecasts)
    return Forecast(name, kind, times, values, one_step, values[-count - 1 : -1], free)


def report(console: Console, found: Forecast) -> None:
    """A line with the errors."""
    first, width = found.times[found.end][0], len(found.free)
    where = f"{found.kind}, {found.name} from {first:.0f} on ({_UNIT[found.name]})"
    errors = [f"{found.error(of):.3g}" for of in ("one_step", "last", "free")]
    text = "{}: error {} one step ahead, {} for the last value again, {} for {} steps at once"
    console.print(text.format(where, *errors, width), soft_wrap=True)


def draw(path: Path, forecasts: list[Forecast]) -> None:
    """The end of the series and its forecasts as a picture; the suffix of the file says its format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5 * len(forecasts)), layout="constrained")
    for position, each in enumerate(forecasts, start=1):
        _draw_one(figure.add_subplot(len(forecasts), 1, position), each)
    write_atomically(path, figure.savefig)


def _draw_one(axes: Any, found: Forecast) -> None:
    end, count = found.times[found.end], len(found.one_step)
    axes.plot(found.times[-2 * count :], found.values[-2 * count :], color="black", lw=1, label="measured")
    axes.plot(end, found.one_step, label=f"one step ahead, error {found.error():.3g}")
    label = f"{len(found.free)} steps at once, error {found.error('free'):.3g}"
    axes.plot(end[: len(found.free)], found.free, ls="--", label=label)
    axes.axvline(end[0], color="grey", lw=0.8)
    axes.set(title=f"{found.kind}: {found.name}", xlabel="year", ylabel=_UNIT[found.name])
    axes.grid(alpha=0.3)
    axes.legend()
