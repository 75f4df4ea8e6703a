"""The study's Figures 1 and 1bis: what the ZINB makes of each zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .._check.arguments import checked
from ..get import zero_study_df
from ._density import Density, levels_of_mass, smoothed_density
from ._style import (
    ZERO_CMAPS,
    finish,
    given_axes,
    legend_above,
    new_axes,
    new_grid,
    plain_numbers,
    root_figure,
    style,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

MASSES = (0.95, 0.8, 0.6, 0.4, 0.2)
FEW_ZEROS = 50
# Drawn in this order: limited sensitivity comes to lie over dropout, as in the study.
NAMES = {"dropout": "Dropout", "limited sensitivity": "Limited sensitivity", "zero": "Zeros"}
X_LABELS = {"dropout": "dropout probability", "total": "total zero probability"}
Y_LABEL = "NB mean, counts"


@checked
def zero_study(
    adata: AnnData | Mapping[str, AnnData] | Sequence[AnnData],
    *,
    x: Literal["dropout", "total"] = "dropout",
    truth: bool | Literal["posterior"] = True,
    levels: Literal["panel", "shared"] = "panel",
    key: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw the density of the dropout probability and the NB mean over all entries that are zero.

    Each shade of a cloud holds a further share of the zeros of its kind: the darkest region the densest
    20 %, the outermost 95 %. Where ``layers["true_counts"]`` is there, zeros that a gene had before dropout
    (limited sensitivity, blue) and those that dropout made (red) are apart. Fewer than 50 zeros of a kind
    are drawn as points.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.fit_nb_zinb` was run; or several, as a list or as
        a dict with their titles, which are drawn side by side on the same axes.
    x
        What is drawn along x: ``"dropout"``, the probability pi of a dropout (the study's Figure 1); or
        ``"total"``, that of any zero, ``pi + (1 - pi) (theta / (theta + mu))^theta``, averaged over posterior
        draws (its Figure 1bis, with the NB's formula in place of the Poisson's).
    truth
        ``True``: apart by ``layers["true_counts"]``, one cloud where it is absent. ``False``: one cloud.
        ``"posterior"``: each zero counts as a dropout by the probability that the model gives it
        (:func:`zinbtools.get.posterior_dropout`) and as limited sensitivity by the rest. The kind with more
        zeros is filled and the other one is drawn over it in lines, so that it hides nothing. A kind with
        fewer than 50 expected zeros is not drawn.
    levels
        With several objects: ``"panel"``, shades hold shares of the zeros of their own panel; ``"shared"``, a
        shade is the same density in all panels, with levels that hold these shares of all panels together.
    ax
        Axes to draw on, one for each object; by default a new figure.

    Returns
    -------
    The axes, a list of them for several objects, the figure with ``return_fig=True``, or None once it was
    shown.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If the fit has no ZINB, ``x``, ``truth`` or ``levels`` is none of the above, or there is not one
        axes for each object.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> ax = zt.pl.zero_study(adata, show=False)
    >>> ax.get_xlabel()
    'dropout probability'
    >>> axes = zt.pl.zero_study({"one": adata, "other": adata}, x="total", show=False)
    >>> [ax.get_title() for ax in axes]
    ['one', 'other']
    """
    objects, titles = _several(adata)
    panels = [_clouds(one, x, truth, key) for one in objects]
    shared = _shared_levels(panels) if levels == "shared" else {}
    with style():
        axes = _axes_for(len(panels), ax)
        for target, clouds, title in zip(axes, panels, titles or [""], strict=True):
            target.set(xscale="log", yscale="log")
            for place, (kind, cloud) in enumerate(clouds.items()):
                _draw_cloud(
                    target, kind, cloud, shared.get(kind), in_lines=truth == "posterior" and place > 0
                )
            target.set(title=title, xlabel=X_LABELS[x], ylabel=Y_LABEL)
        for target in axes:  # the smoothing goes beyond a probability of one, the axis does not
            target.set_xlim(right=min(target.get_xlim()[1], 1.0))
            plain_numbers(target.xaxis, target.yaxis)
        if titles is None:
            expected = truth == "posterior"  # which makes the words too long for one row
            handles = _handles(panels[0], counted=True, expected=expected)
            legend_above(axes[0], 1 if expected else 3, handles=handles)
            return finish(axes[0], "zero_study", given=ax is not None, show=show, return_fig=return_fig)
        _legend_of_several(axes, panels)
        return finish(axes, "zero_study", given=ax is not None, show=show, return_fig=return_fig)


class Cloud(NamedTuple):
    """Zeros of one kind: log10 of both axes, (n, 2), and for how many each counts; None is one."""

    points: NDArray[np.floating]
    weights: NDArray[np.floating] | None = None

    @property
    def size(self) -> int:
        return len(self.points) if self.weights is None else round(float(self.weights.sum(dtype=float)))

    @property
    def has_density(self) -> bool:
        return self.size >= FEW_ZEROS


def _several(
    adata: AnnData | Mapping[str, AnnData] | Sequence[AnnData],
) -> tuple[list[AnnData], list[str] | None]:
    """List the objects and their titles; None for a single object, which needs no title."""
    if hasattr(adata, "obs_names"):
        return [adata], None
    if isinstance(adata, Mapping):
        objects, titles = list(adata.values()), [str(title) for title in adata]
    else:
        objects = list(adata)
        titles = [""] * len(objects)
    if not objects:
        raise ValueError("adata holds no object; give one AnnData, a list or a dict of them.")
    return objects, titles


def _clouds(adata: AnnData, x: str, truth: bool | Literal["posterior"], key: str | None) -> dict[str, Cloud]:
    """Collect the kinds of zeros that are there, in the order in which they are drawn."""
    posterior = truth == "posterior"
    zeros = zero_study_df(adata, total=x == "total", posterior=posterior, key=key)
    points = zeros[[f"log10_{x}", "log10_mean"]].to_numpy()
    if posterior:
        probability = zeros["posterior_dropout"].to_numpy()
        kinds = {"dropout": Cloud(points, probability), "limited sensitivity": Cloud(points, 1 - probability)}
        return dict(sorted(kinds.items(), key=lambda kind: -kind[1].size))
    if not truth:
        return {"zero": Cloud(points)}
    kinds = zeros["kind"].cat.categories
    found = {kind: Cloud(points[(zeros["kind"] == kind).to_numpy()]) for kind in NAMES if kind in kinds}
    return {kind: cloud for kind, cloud in found.items() if cloud.size}


def _draw_cloud(
    ax: Axes, kind: str, cloud: Cloud, levels: list[float] | None, *, in_lines: bool = False
) -> None:
    """Fill the contours of a cloud, or draw them, at levels of probability density where some are given."""
    if not cloud.has_density:
        if cloud.weights is None:
            x, y = 10.0**cloud.points.T
            ax.scatter(x, y, s=6, color=_shade(kind), linewidths=0)
        return
    density = smoothed_density(*cloud)
    if levels is None:
        levels = levels_of_mass(density.height, MASSES)
    else:
        density = density.per_area
    colors = plt.get_cmap(ZERO_CMAPS[kind])(np.linspace(0.3, 0.9, len(levels)))
    cropped = _on_log_axes(density, levels[0])
    if in_lines:
        drawn = ax.contour(*cropped, levels=levels, colors=colors, linewidths=1.0)
    else:
        upper = max(float(density.height.max()), levels[-1] * (1 + 1e-6))
        drawn = ax.contourf(*cropped, levels=[*levels, upper], colors=colors, alpha=0.75)
    for edges in drawn.sticky_edges:  # which matplotlib compares in absolute terms, on log axes too
        edges.clear()
    ax.autoscale_view()


def _on_log_axes(density: Density, level: float) -> Density:
    """Cut out what reaches a level, at probabilities and means in the place of their logarithms."""
    cropped = density.cropped(level)
    return cropped._replace(x=10.0**cropped.x, y=10.0**cropped.y)


def _shared_levels(panels: Sequence[Mapping[str, Cloud]]) -> dict[str, list[float]]:
    """Find the levels of probability density for each kind that hold MASSES of all panels together."""
    levels = {}
    for kind in NAMES:
        masses = [smoothed_density(*p[kind]) for p in panels if kind in p and p[kind].has_density]
        if masses:
            height, mass = _joined([m.per_area for m in masses]), _joined(masses)
            levels[kind] = levels_of_mass(height, MASSES, mass)
    return levels


def _joined(densities: Sequence[Density]) -> NDArray[np.float64]:
    return np.concatenate([density.height.ravel() for density in densities])


def _axes_for(n_panels: int, ax: Axes | Sequence[Axes] | None) -> list[Axes]:
    if ax is None:
        return new_axes() if n_panels == 1 else new_grid(n_panels)
    return given_axes(ax, n_panels, "objects")


def _shade(kind: str, depth: float = 0.65) -> tuple[float, float, float, float]:
    return plt.get_cmap(ZERO_CMAPS[kind])(depth)


def _handles(clouds: Mapping[str, Cloud], *, counted: bool, expected: bool = False) -> list[Patch]:
    """Make the legend's patches, limited sensitivity first."""
    of = " expected" if expected else ""
    return [
        Patch(
            color=_shade(kind), label=f"{NAMES[kind]} ({clouds[kind].size:,}{of})" if counted else NAMES[kind]
        )
        for kind in ("limited sensitivity", "dropout", "zero")
        if kind in clouds
    ]


def _legend_of_several(axes: Sequence[Axes], panels: Sequence[Mapping[str, Cloud]]) -> None:
    """Draw one legend for all panels, and write how many zeros of each kind in each."""
    everywhere = {kind: cloud for clouds in panels for kind, cloud in clouds.items()}
    ordered = {kind: everywhere[kind] for kind in NAMES if kind in everywhere}
    root_figure(axes[0]).legend(
        handles=_handles(ordered, counted=False), loc="outside upper right", ncols=len(ordered)
    )
    for ax, clouds in zip(axes, panels, strict=True):
        for line, (kind, cloud) in enumerate(list(clouds.items())[::-1]):
            number = ax.text(0.03, 0.98 - 0.08 * line, f"{cloud.size:,}", transform=ax.transAxes)
            number.set(color=_shade(kind, 0.9), ha="left", va="top", fontsize=7)
        if ax.get_subplotspec() is not None:
            ax.label_outer()
