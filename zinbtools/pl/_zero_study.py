"""The study's Figure 1: what the ZINB makes of each zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from scipy.ndimage import gaussian_filter

from ..get import zero_study_df
from ._style import ZERO_CMAPS, finish, legend_above, new_axes, style

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MASSES = (0.95, 0.8, 0.6, 0.4, 0.2)
N_BINS = 200
FEW_ZEROS = 50
# Drawn in this order: limited sensitivity comes to lie over dropout, as in the study.
NAMES = {"dropout": "Dropout", "limited sensitivity": "Limited sensitivity", "zero": "Zeros"}


def zero_study(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Density of the dropout probability and the NB mean over all entries that are zero.

    Each shade of a cloud holds a further share of the zeros of its kind: the darkest region the densest
    20 %, the outermost 95 %. Where ``layers["true_counts"]`` is there, zeros that a gene had before dropout
    (limited sensitivity, blue) and those that dropout made (red) are apart. Fewer than 50 zeros of a kind
    are drawn as points.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.fit_nb_zinb` was run with its layers.
    key
        ``key_added`` of the fit to draw.
    ax
        Axes to draw on; by default a new figure of one column's width.
    show
        Show the figure. By default as ``scanpy.settings.autoshow`` says, where there is a window or a
        notebook and ``ax`` was not given.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The axes, the figure with ``return_fig=True``, or None once it was shown.

    Raises
    ------
    KeyError
        If the fit has no ZINB, or its dense layers were left out.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> ax = zt.pl.zero_study(adata, show=False)
    >>> ax.get_xlabel()
    'dropout probability (log10)'
    """
    zeros = zero_study_df(adata, key=key)
    with style():
        target = ax if ax is not None else new_axes()[0]
        handles = []
        for kind, name in NAMES.items():
            points = zeros.loc[zeros["kind"] == kind, ["log10_dropout", "log10_mean"]].to_numpy()
            if len(points):
                shade = plt.get_cmap(ZERO_CMAPS[kind])(0.65)
                _draw_kind(target, points, ZERO_CMAPS[kind], shade)
                handles.append(Patch(color=shade, label=f"{name} ({len(points):,})"))
        target.set(xlabel="dropout probability (log10)", ylabel="NB mean (log10)")
        legend_above(target, handles=handles[::-1])
        return finish(target, given=ax is not None, show=show, return_fig=return_fig)


class Density(NamedTuple):
    """A smoothed histogram; ``height[i, j]`` belongs to ``x[j]``, ``y[i]``."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    height: NDArray[np.float64]


def _draw_kind(ax: Axes, points: NDArray[np.floating], cmap: str, shade: tuple[float, ...]) -> None:
    if len(points) < FEW_ZEROS:
        ax.scatter(points[:, 0], points[:, 1], s=6, color=shade, linewidths=0)
        return
    density = smoothed_density(points)
    levels = levels_of_mass(density.height, MASSES)
    colors = plt.get_cmap(cmap)(np.linspace(0.3, 0.9, len(levels)))
    upper = max(float(density.height.max()), levels[-1] * (1 + 1e-6))
    ax.contourf(*density, levels=[*levels, upper], colors=colors, alpha=0.75)


def smoothed_density(points: NDArray[np.floating]) -> Density:
    """Histogram smoothed by a Gaussian of Scott's bandwidth: a kernel density at the cost of one pass.

    Parameters
    ----------
    points
        Shape (n, 2), finite.
    """
    values = points.astype(np.float64)
    # The width of the middle, and not the standard deviation, which a long tail would blow up.
    middle = np.quantile(values, [0.16, 0.84], axis=0)
    bandwidth = np.maximum((middle[1] - middle[0]) / 2, 1e-2) * len(values) ** (-1 / 6)
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    low, high = low - 4 * bandwidth, high + 4 * bandwidth
    counts, x, y = np.histogram2d(
        values[:, 0], values[:, 1], bins=N_BINS, range=list(zip(low, high, strict=True))
    )
    bins = np.maximum(bandwidth / ((high - low) / N_BINS), 1.0)
    height = gaussian_filter(counts, bins, mode="constant")
    return Density((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2, height.T)


def levels_of_mass(height: NDArray[np.float64], masses: tuple[float, ...]) -> list[float]:
    """Heights above which the given shares of the mass lie (highest-density regions), ascending.

    Examples
    --------
    >>> levels_of_mass(np.array([[4.0, 3.0], [2.0, 1.0]]), (0.9, 0.4))
    [2.0, 4.0]
    """
    falling = np.sort(height, axis=None)[::-1]
    share = np.cumsum(falling) / falling.sum()
    levels = {float(falling[np.searchsorted(share, mass)]) for mass in masses}
    return sorted(levels)
