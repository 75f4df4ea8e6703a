"""One look for all plots: sizes for one column of a paper, and fixed, colour-blind safe colours."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf, log10
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Drawn = TypeVar("Drawn", Axes, list[Axes])

WIDTH, HEIGHT = 3.4, 2.7  # inches: one column of a journal is 85 to 90 mm

# Okabe and Ito's palette. The NB shares its blue with the zeros that an NB explains, the ZINB its red with
# the zeros that need dropout.
COLORS = {"nb": "#0072B2", "zinb": "#D55E00", "observed": "#4D4D4D", "neutral": "#B3B3B3"}
ZERO_CMAPS = {"limited sensitivity": "Blues", "dropout": "Reds", "zero": "Purples"}

_RC: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "legend.fontsize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": True,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "figure.dpi": 120.0,
    "savefig.dpi": 240.0,
}
_WITHOUT_WINDOW = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the package's look and leave the user's rcParams alone."""
    with plt.rc_context(_RC):
        yield


def new_axes(n_panels: int = 1) -> list[Axes]:
    """Make panels in a row, each of them readable at one column's width."""
    _, axes = plt.subplots(
        1, n_panels, figsize=(WIDTH * n_panels, HEIGHT), layout="constrained", squeeze=False
    )
    return list(axes[0])


def new_grid(n_panels: int, n_columns: int = 3) -> list[Axes]:
    """Make panels over two columns of a journal that share their axes, as many rows as are needed."""
    n_columns = min(n_panels, n_columns)
    n_rows = -(-n_panels // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(2 * WIDTH, 0.25 + 0.85 * 2 * WIDTH / n_columns * n_rows),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for empty in axes.flat[n_panels:]:
        figure.delaxes(empty)
    return list(axes.flat[:n_panels])


def given_axes(ax: Axes | Sequence[Axes], n_panels: int, what: str) -> list[Axes]:
    """Return the user's axes as a list, or refuse them where there is not one for each panel."""
    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != n_panels:
        raise ValueError(f"ax must hold one axes for each of the {n_panels} {what}, found {len(axes)}.")
    return axes


def plain_numbers(*axes: Axis) -> None:
    """Write 0.1, 1, 10 and not powers of ten on logarithmic axes whose limits are set.

    An axis of less than two decades gets ticks between the powers of ten too.
    """
    for axis in axes:
        low, high = axis.get_view_interval()
        decades = log10(high / low) if low > 0 else inf
        if decades < 2:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades > 0.8 else (1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def legend_above(ax: Axes, n_columns: int = 3, **legend: Any) -> None:
    """Draw a legend in a row over the axes, where it covers nothing."""
    ax.legend(
        **legend,
        loc="lower center",
        bbox_to_anchor=(0.45, 1.0),
        ncols=n_columns,
        columnspacing=0.9,
        handlelength=0.9,
        handletextpad=0.4,
    )


def finish(drawn: Drawn, *, given: bool, show: bool | None, return_fig: bool) -> Figure | Drawn | None:
    """Show the figure or hand it back.

    ``show=None`` shows it as scanpy does (``scanpy.settings.autoshow``), unless the axes were given, the
    figure was asked for, or there is nowhere to show it.
    """
    if show is None:
        show = not (given or return_fig) and _autoshow()
    if show:
        plt.show()
    if return_fig:
        first = drawn if isinstance(drawn, Axes) else drawn[0]
        return root_figure(first)
    return None if show else drawn


def root_figure(ax: Axes) -> Figure:
    """Return the whole figure of axes, which may be in a part of it."""
    return ax.figure.figure  # `get_figure(root=True)` came with matplotlib 3.10


def _autoshow() -> bool:
    # Who has not imported scanpy has not changed its settings either, and it takes seconds to import.
    scanpy = sys.modules.get("scanpy")
    wanted = True if scanpy is None else bool(scanpy.settings.autoshow)
    return wanted and plt.get_backend().lower() not in _WITHOUT_WINDOW
