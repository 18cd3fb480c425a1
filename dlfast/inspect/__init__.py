"""Looking into models: `summary` of their layers and costs."""

import typing as _typing

from .._suggest import missing as _missing
from ._summary import Summary, SummaryRow, summary

__all__ = [
    "Summary",
    "SummaryRow",
    "summary",
]

if not _typing.TYPE_CHECKING:
    __getattr__ = _missing(__name__)
