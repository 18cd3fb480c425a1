"""Pictures inside a page: SVG whose colours follow the page's, and small PNG images."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from importlib.util import find_spec
from typing import Any

import numpy as np

from ._figures import COLOURS, FAINT, Pictured

INK = "#1c2530"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", **{c: f"var(--c{i})" for i, c in enumerate(COLOURS)}}


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return find_spec("matplotlib") is not None


def svg_of(pictured: Pictured, label: str) -> str:
    """The picture as an <svg> element without a size of its own; `label` says to screen readers what it shows.

    Texts stay texts, in the font of the page, and colours of the palette become variables of its style.
    """
    import matplotlib

    colours: dict[Any, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    salt = hashlib.sha256(label.encode()).hexdigest()[:12]  # ids differ from picture to picture
    colours |= {"svg.fonttype": "none", "svg.hashsalt": salt, "axes.facecolor": "none"}
    with matplotlib.rc_context(colours):
        written = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        pictured.figure().savefig(written, format="svg", transparent=True, metadata=nothing)
    text = written.getvalue()
    text = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", rf"<svg {_named(label)} \1 {_NAMESPACES}>", text, count=1)
    text = re.sub(r'<g id="[\w.]+"', "<g", text)  # the same in every picture, and nothing refers to them
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    return text[text.index("<svg ") :].strip()


_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def _named(label: str) -> str:
    quoted = html.escape(label).replace("\\", "&#92;")  # which would begin a group of the substitution
    return f'role="img" aria-label="{quoted}"'


def png_of(image: np.ndarray, label: str, least: float | None = None, most: float | None = None) -> str:
    """An <img> element of an image (H, W), (H, W, 1) or (H, W, 3), from least to most; where it is NaN, nothing."""
    import matplotlib.image

    values = image.astype(np.float64)
    low = np.nanmin(values) if least is None else least
    high = np.nanmax(values) if most is None else most
    scaled = np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)
    scaled = scaled.reshape(*values.shape[:2], -1)
    scaled = np.repeat(scaled, 3 // scaled.shape[2], axis=2)
    opaque = np.isfinite(scaled).all(axis=2, keepdims=True).astype(np.float64)
    rgba: Any = np.concatenate([np.nan_to_num(scaled), opaque], axis=2)
    written = io.BytesIO()
    matplotlib.image.imsave(written, rgba, format="png")
    data = base64.b64encode(written.getvalue()).decode()
    return f'<img alt="{html.escape(label)}" src="data:image/png;base64,{data}">'
