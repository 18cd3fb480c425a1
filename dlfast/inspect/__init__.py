"""Looking into models: what their layers hold and compute, how gradients flow, which units are dead, what they mistake.

Every function leaves the model as it was, with its mode, gradients and running statistics, and the library's random
numbers too; it gives a result that prints as text and, where there is something to see, has ``.plot(path)``.
"""

import typing as _typing

from .._suggest import missing as _missing
from ._checks import InitialLoss, TinyBatch, check_initial_loss, overfit_tiny_batch
from ._confusion import ConfusionMatrix, confusion_matrix
from ._distributions import Distribution, Distributions, activations, weights
from ._doctor import doctor
from ._filters import Filters, filters
from ._findings import Diagnosis, Finding
from ._gradients import GradientFlow, GradientRow, gradient_flow
from ._report import write_report
from ._summary import Summary, SummaryRow, summary
from ._units import DeadUnits, UnitRow, dead_units

__all__ = [
    "ConfusionMatrix",
    "DeadUnits",
    "Diagnosis",
    "Distribution",
    "Distributions",
    "Filters",
    "Finding",
    "GradientFlow",
    "GradientRow",
    "InitialLoss",
    "Summary",
    "SummaryRow",
    "TinyBatch",
    "UnitRow",
    "activations",
    "check_initial_loss",
    "confusion_matrix",
    "dead_units",
    "doctor",
    "filters",
    "gradient_flow",
    "overfit_tiny_batch",
    "summary",
    "weights",
    "write_report",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
