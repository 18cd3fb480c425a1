"""Looking into models: `summary` of their layers and costs."""

import typing as _typing

from .._suggest import missing as _missing
from ._gradients import GradientFlow, GradientRow, gradient_flow
from ._summary import Summary, SummaryRow, summary
from ._units import DeadUnits, UnitRow, dead_units

__all__ = [
    "DeadUnits",
    "GradientFlow",
    "GradientRow",
    "Summary",
    "SummaryRow",
    "UnitRow",
    "dead_units",
    "gradient_flow",
    "summary",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
