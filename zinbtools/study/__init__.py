"""The whole comparison in one call: select, fit, evaluate, conclude, and write it all down."""

from __future__ import annotations

from .._selection import select
from ._conclusion import conclusion
from ._h5ad import write_h5ad
from ._pipeline import Study, run_study
from ._report import report_html
from ._reproduce import Reproduction, reproduce
from ._table import summary
from ._write import staged, write_study

__all__ = [
    "Reproduction",
    "Study",
    "conclusion",
    "report_html",
    "reproduce",
    "run_study",
    "select",
    "staged",
    "summary",
    "write_h5ad",
    "write_study",
]
