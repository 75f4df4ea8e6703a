"""One look for all plots: sizes for one column of a paper, and fixed, colour-blind safe colours."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf, log10
from pathlib import Path
from typing import Any, TypeVar

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import rcParams, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Drawn = TypeVar("Drawn", Axes, list[Axes])

WIDTH, HEIGHT = 3.4, 2.7  # inches: one column of a journal is 85 to 90 mm

# Okabe and Ito's palette. The NB shares its blue with the zeros that an NB explains, the ZINB its red with
# the zeros that need dropout.
COLORS = {"nb": "#0072B2", "zinb": "#D55E00", "observed": "#4D4D4D", "neutral": "#B3B3B3"}
ZERO_CMAPS = {"limited sensitivity": "Blues", "dropout": "Reds", "zero": "Purples"}

_SIZES: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "legend.fontsize": 7.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
}
_DPI: Any = {"figure.dpi": 120.0, "savefig.dpi": 240.0}
_RC: Any = {
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": True,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
}
_WITHOUT_WINDOW = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}


def text_color() -> Any:
    """Return what text and lines are drawn in: black, or what a dark style has instead."""
    return plt.rcParams["text.color"]


def observed_color() -> str:
    """Return the grey of what was observed, which stands out on a white page and on a dark one."""
    return COLORS["observed"] if sum(to_rgb(text_color())) < 1.5 else "#CCCCCC"


@contextmanager
def style() -> Iterator[None]:
    """Draw in the package's look and leave the user's rcParams alone.

    Sizes of text and resolutions that were chosen, as by `scanpy.set_figure_params`, stay.
    """
    chosen = _DPI | _RC if any(map(_is_chosen, _SIZES)) else _SIZES | _DPI | _RC
    with plt.rc_context({k: v for k, v in chosen.items() if k not in _DPI or not _is_chosen(k)}):
        yield


def _is_chosen(name: Any) -> bool:
    return bool(rcParams[name] != rcParamsDefault[name])


def panel_size() -> tuple[float, float]:
    """Return width and height of a panel in inches: one column of a paper, or what was chosen."""
    if _is_chosen("figure.figsize"):
        width, height = plt.rcParams["figure.figsize"]
        return float(width), float(height)
    return WIDTH, HEIGHT


def new_axes(n_panels: int = 1) -> list[Axes]:
    """Make panels in a row, each of them readable at one column's width."""
    width, height = panel_size()
    _, axes = plt.subplots(
        1, n_panels, figsize=(width * n_panels, height), layout="constrained", squeeze=False
    )
    return list(axes[0])


def new_grid(n_panels: int, n_columns: int = 3, *, share_y: bool = True) -> list[Axes]:
    """Make panels over two columns of a journal that share their axes, as many rows as are needed."""
    n_columns = min(n_panels, n_columns)
    n_rows, width = -(-n_panels // n_columns), 2 * panel_size()[0]
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(width, 0.25 + 0.85 * width / n_columns * n_rows),
        sharex=True,
        sharey=share_y,
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

    Numbers below 0.0001 and from a million on are powers of ten. An axis of less than two decades gets ticks
    between the powers of ten too.
    """
    for axis in axes:
        low, high = axis.get_view_interval()
        decades = log10(high / low) if low > 0 else inf
        if decades < 2:
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades > 0.8 else (1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
        axis.set_minor_formatter(NullFormatter())


def _tick(value: float) -> str:
    """Write a number of a logarithmic axis.

    Examples
    --------
    >>> _tick(0.001), _tick(200), _tick(1e-7), _tick(2e-7)
    ('0.001', '200', '$10^{-7}$', '$2 · 10^{-7}$')
    """
    if 1e-4 * (1 - 1e-9) <= value < 1e6:
        return f"{value:g}"
    front, _, power = f"{value:e}".partition("e")
    times = "" if float(front) == 1 else f"{float(front):g} · "
    return f"${times}10^{{{int(power)}}}$"


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


def finish(
    drawn: Drawn, name: str, *, given: bool, show: bool | None, return_fig: bool
) -> Figure | Drawn | None:
    """Show the figure or hand it back.

    ``show=None`` shows it as scanpy does (``scanpy.settings.autoshow``), unless the axes were given, the
    figure was asked for, or there is nowhere to show it. Unless the axes were given or the figure was asked
    for, it is saved as scanpy does too (``scanpy.settings.autosave``, ``figdir`` and the like), as
    ``zinbtools_NAME``.
    """
    if not (given or return_fig):
        _autosave(_first(drawn), name)
    if show is None:
        show = not (given or return_fig) and _autoshow()
    if show:
        plt.show()
    if return_fig:
        return root_figure(_first(drawn))
    return None if show else drawn


def _first(drawn: Axes | list[Axes]) -> Axes:
    return drawn if isinstance(drawn, Axes) else drawn[0]


def root_figure(ax: Axes) -> Figure:
    """Return the whole figure of axes, which may be in a part of it."""
    return ax.figure.figure  # `get_figure(root=True)` came with matplotlib 3.10


def _autosave(ax: Axes, name: str) -> None:
    """Save a figure where scanpy was told to save those that are drawn."""
    scanpy = sys.modules.get("scanpy")
    settings = None if scanpy is None else scanpy.settings
    if settings is None or not getattr(settings, "autosave", False):
        return
    folder = Path(settings.figdir)
    folder.mkdir(parents=True, exist_ok=True)
    file = f"zinbtools_{name}{settings.plot_suffix}.{settings.file_format_figs}"
    root_figure(ax).savefig(folder / file, bbox_inches="tight")


def _autoshow() -> bool:
    # Who has not imported scanpy has not changed its settings either, and it takes seconds to import.
    scanpy = sys.modules.get("scanpy")
    wanted = True if scanpy is None else bool(scanpy.settings.autoshow)
    return wanted and plt.get_backend().lower() not in _WITHOUT_WINDOW
