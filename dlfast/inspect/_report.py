"""write_report: one page of HTML that says how a model is and how its training went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from .._files import check_writable, write_text
from .._version import __version__
from ..nn.module import Module
from ..optim import Optimizer
from ..train.evaluation import check_model
from ._confusion import ConfusionMatrix, confusion_matrix
from ._curves import Curves
from ._distributions import activations
from ._doctor import doctor
from ._filters import filters
from ._findings import Diagnosis
from ._mistakes import Mistake, mistakes
from ._setting import Sample, sample_of
from ._style import STYLE
from ._summary import Summary, size_in_words, summary
from ._svg import can_draw, png_of, svg_of

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{subtitle}</p>
</header>
<main>
{body}
</main>
<footer>Written by dlfast {version} on {date}.</footer>
</body>
</html>
"""
_MOST_CLASSES, _MOST_LAYERS = 30, 60
_NO_PICTURES = "<p>Pictures are left out: they need matplotlib, which dlfast's extra <code>plots</code> installs.</p>"


def write_report(
    path: Any,
    model: Module,
    data: Any,
    history: Any = None,
    classes: Sequence[str] | None = None,
    title: str | None = None,
    *,
    loss: Callable | None = None,
    optimizer: Optimizer | None = None,
    val: Any = None,
) -> Diagnosis:
    """Write one page of HTML about a model and its training, and return what `doctor` found.

    data is what the model was trained on, val what it was not; history as `fit` returned it; classes name the labels,
    loss and optimizer are as in `doctor`. The page has the figures of the run, the diagnosis in words, curves, the
    confusion matrix, the examples most wrongly classified where inputs are images, the first filters, gradients, units,
    activations and the layers. Predictions are judged on val, on data if there is none.
    Pictures lie in the page, which needs nothing else and runs no scripts. Without matplotlib (the extra ``plots``) it
    has no pictures. It is written to a temporary file that then takes the name. Raises OSError before anything is
    measured where ``path`` cannot be written, else as `doctor` and `confusion_matrix`.
    """
    check_model("write_report", model)
    check_writable(path)
    found = doctor(model, data, history, loss, optimizer, val)
    judged = data if val is None else val
    sample = sample_of("write_report", data, 1)
    layers = summary(model, tuple(sample.inputs))
    matrix = _confusion(model, judged, classes, found)
    name = type(model).__name__ if title is None else title
    sections = [
        _cards(layers, history, matrix, found),
        _diagnosis(found),
        *_pictures(model, data, judged, history, matrix, found, classes, sample),
        _layers(layers),
    ]
    page = _PAGE.format(
        title=escape(name),
        style=STYLE,
        subtitle=escape(_subtitle(layers, history)),
        body="\n".join(sections),
        version=escape(__version__),
        date=time.strftime("%Y-%m-%d %H:%M"),
    )
    write_text(path, page)
    return found


def _confusion(model: Module, data: Any, classes: Sequence[str] | None, found: Diagnosis) -> ConfusionMatrix | None:
    """None where there are no classes to confuse."""
    if found.initial is None or found.initial.classes is None:
        return None
    return confusion_matrix(model, data, classes)


def _subtitle(layers: Summary, history: Any) -> str:
    epochs = len(history) if history is not None else 0
    run = f"after {epochs} epoch{'s' if epochs != 1 else ''} of training" if epochs else "not trained"
    shapes = " and ".join(" x ".join(map(str, shape[1:])) or "1" for shape in layers.inputs)
    return f"{layers.model}, inputs {shapes}, {run}"


def _cards(layers: Summary, history: Any, matrix: ConfusionMatrix | None, found: Diagnosis) -> str:
    """The figures of the run."""
    rows = layers.inputs[0][0] if layers.inputs and layers.inputs[0] else 1
    cards = [
        (f"{layers.parameters:,}", "parameters"),
        (_short_number(layers.multiply_adds / max(1, rows)), "multiply-adds a row"),
    ]
    if matrix is not None:
        cards.insert(0, (f"{matrix.accuracy:.2%}", f"of {int(matrix.counts.sum()):,} classified right"))
    columns = _epochs(history)
    if losses := columns.get("val_loss"):
        best = int(np.argmin(np.nan_to_num(losses, nan=np.inf)))
        cards.append((f"{losses[best]:.4g}", f"least validation loss, epoch {best + 1}"))
    if losses := columns.get("train_loss"):
        cards.append((f"{losses[-1]:.4g}", "last training loss"))
    if seconds := columns.get("seconds"):
        cards.append((f"{sum(seconds):,.1f} s", f"training, {len(seconds)} epochs"))
    made = "".join(
        f'<div class="card"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in cards
    )
    return f'<div class="cards">{made}</div>'


def _short_number(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def _epochs(history: Any) -> dict[str, list[float]]:
    epochs = getattr(history, "epochs", history) or []
    return {name: [epoch[name] for epoch in epochs if name in epoch] for name in (epochs[0] if epochs else ())}


def _section(title: str, body: str, words: str = "") -> str:
    told = f"<p>{escape(words)}</p>\n" if words else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{told}{body}\n</section>"


def _diagnosis(found: Diagnosis) -> str:
    checked = "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in found.checked()) + "</ul>"
    if found.healthy:
        body = f'<div class="finding healthy"><h3>Healthy: nothing wrong was found</h3>\n{checked}</div>'
        return _section("Diagnosis", body)
    parts = []
    for finding in found:
        kind = "finding follows" if finding.because else f"finding {finding.severity}"
        tag = f"follows from {finding.because.replace('_', ' ')}" if finding.because else finding.severity
        advice = "" if finding.because else f'\n<p class="advice">{escape(finding.advice)}</p>'
        head = f'{escape(finding.code.replace("_", " "))}<span class="tag">{escape(tag)}</span>'
        parts.append(f'<div class="{kind}"><h3>{head}</h3>\n<p>{escape(finding.words)}</p>{advice}</div>')
    return _section("Diagnosis", "\n".join(parts) + "\n" + checked)


def _pictures(
    model: Module,
    data: Any,
    judged: Any,
    history: Any,
    matrix: ConfusionMatrix | None,
    found: Diagnosis,
    classes: Sequence[str] | None,
    sample: Sample,
) -> Iterator[str]:
    """The sections between diagnosis and layers."""
    draw = can_draw()
    if not draw:
        yield _section("Pictures", _NO_PICTURES)
    if draw and _epochs(history):
        yield _section("Curves", svg_of(Curves(_epochs(history)), "Loss and metrics by epoch"))
    if matrix is not None and len(matrix.classes) <= _MOST_CLASSES:
        yield _section(
            "Confusion matrix", _matrix(matrix), "Rows are what examples are, columns what they were taken for."
        )
    elif matrix is not None and draw:
        yield _section("Confusion matrix", svg_of(matrix, "Confusion matrix"))
    if draw and _are_images(sample) and matrix is not None:
        wrong = mistakes(model, judged, classes)
        if wrong:
            words = "The examples in which the model was surest of another class."
            yield _section("Most wrongly classified", _tiles(wrong), words)
    if not draw or found.gradients is None:
        return
    if shown := _filters(model, sample):
        yield shown
    if len(found.gradients):
        words = "Norms by layer, first to last: neither should shrink or grow by orders of magnitude."
        yield _section("Gradient flow", svg_of(found.gradients, "Norm of the gradient by layer"), words)
    if found.units is not None and len(found.units):
        words = "ReLU units that are 0 for every row, and sigmoids and tanhs at the ends of their range."
        yield _section("Dead and saturated units", svg_of(found.units, "Share of units that work, by layer"), words)
    spread = activations(model, data)
    if 0 < len(spread) <= _MOST_LAYERS:
        yield _section("Activations", svg_of(spread, "Histograms of the outputs of each layer"))


def _are_images(sample: Sample) -> bool:
    return sample.inputs[0].ndim == 4 and sample.inputs[0].shape[3] in (1, 3)


def _filters(model: Module, sample: Sample) -> str:
    """Those of the first convolution, where it sees images and a filter has more than a pixel."""
    if not _are_images(sample):
        return ""
    try:
        found = filters(model)
    except ValueError:  # no convolution
        return ""
    if found.weights.shape[1] * found.weights.shape[2] < 4:
        return ""
    image = png_of(found.grid(), str(found), 0.0, 1.0)
    return _section("First filters", f'<div class="filters">{image}</div>', f"{found}. Grey is a weight of 0.")


def _matrix(matrix: ConfusionMatrix) -> str:
    """A table whose cells are coloured by their share of the row."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in (*matrix.classes, "recall"))
    lines = [f'<tr><th class="name"></th>{heads}</tr>']
    for i, name in enumerate(matrix.classes):
        total = max(1, int(matrix.counts[i].sum()))
        cells = []
        for j, count in enumerate(matrix.counts[i].tolist()):
            wrong = "" if i == j else ' class="wrong"'
            share = count / total if i == j else min(1.0, 4 * count / total)  # mistakes are rare, and are to be seen
            cells.append(f'<td{wrong} style="--share: {0.75 * share:.3f}">{count or ""}</td>')
        recall = matrix.counts[i, i] / total
        cells.append(f'<td class="recall">{recall:.1%}</td>')
        lines.append(f'<tr><th class="name">{escape(name)}</th>{"".join(cells)}</tr>')
    return '<div class="wide"><table class="confusion">\n' + "\n".join(lines) + "\n</table></div>"


def _tiles(wrong: list[Mistake]) -> str:
    tiles = []
    for one in wrong:
        label = f"{one.true}, taken for {one.taken}"
        caption = f"is <b>{escape(one.true)}</b>, taken for <b>{escape(one.taken)}</b> ({one.probability:.0%})"
        tiles.append(f"<figure>{png_of(one.image, label)}<figcaption>{caption}</figcaption></figure>")
    return '<div class="tiles">\n' + "\n".join(tiles) + "\n</div>"


def _layers(layers: Summary) -> str:
    heads = ("layer", "kind", "output", "parameters", "activations", "multiply-adds")
    names = "".join(f'<th class="name">{head}</th>' for head in heads[:2])
    names += "".join(f"<th>{head}</th>" for head in heads[2:])
    lines = [f"<tr>{names}</tr>"]
    for row in layers:
        shape = "" if row.output is None else " x ".join(map(str, row.output[1:]))
        figures = (shape, _number(row.parameters), size_in_words(row.activation_bytes), _number(row.multiply_adds))
        cells = "".join(f"<td>{figure}</td>" for figure in figures)
        lines.append(
            f'<tr><td class="name">{escape(row.name)}</td><td class="name">{escape(row.layer)}</td>{cells}</tr>'
        )
    totals = ("", _number(layers.parameters), size_in_words(layers.activation_bytes), _number(layers.multiply_adds))
    cells = "".join(f"<td>{figure}</td>" for figure in totals)
    lines.append(f'<tr class="total"><td class="name"></td><td class="name">{escape(layers.model)}</td>{cells}</tr>')
    table = '<div class="wide"><table class="layers">\n' + "\n".join(lines) + "\n</table></div>"
    return _section("Layers", table, "Outputs, memory and multiply-adds are those of one row.")


def _number(count: int) -> str:
    return f"{count:,}" if count else ""
