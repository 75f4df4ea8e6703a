"""Zeros against the mean, with what each family expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .._check.arguments import checked
from .._words.models import model_name
from ..get import zero_test_df
from ._style import COLORS, finish, legend_above, new_axes, plain_numbers, style, text_color

if TYPE_CHECKING:
    from anndata import AnnData

# The simplest family that suffices, from Okabe and Ito's palette; what needs dropout is red.
FAMILY_COLORS = {"poisson": "#009E73", "nb": COLORS["nb"], "zip": "#CC79A7", "zinb": COLORS["zinb"]}


@checked
def zero_test(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the share of zeros of each gene against its mean, coloured by the simplest family that suffices.

    The line is the share of zeros that Poisson counts would have, as fitted; the dotted one that of NB counts
    of the median inverse dispersion, all cells being alike.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.zero_test` was run.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.gamma_poisson(n_obs=500, n_vars=50)
    >>> zt.tl.zero_test(adata)
    >>> zt.pl.zero_test(adata, show=False).get_xlabel()
    'mean count per cell'
    """
    genes = zero_test_df(adata, key=key)
    genes = genes[genes["mean_count"] > 0].sort_values("mean_count")
    with style():
        target = ax if ax is not None else new_axes()[0]
        target.set_xscale("log")
        families = [
            target.scatter(
                some["mean_count"],
                some["observed_zero_fraction"],
                s=5,
                c=color,
                alpha=0.6,
                linewidths=0,
                rasterized=True,
                label=f"{model_name(family)} ({len(some):,})",
            )
            for family, color in FAMILY_COLORS.items()
            if len(some := genes[genes["family"] == family])
        ]
        curves = target.plot(
            genes["mean_count"],
            genes["poisson_zero_fraction"],
            color=text_color(),
            lw=0.8,
            label="Poisson expects",
        )
        if "nb_inverse_dispersion" in genes:
            theta = float(np.median(genes["nb_inverse_dispersion"].clip(upper=1e8)))
            grid = np.geomspace(genes["mean_count"].min(), genes["mean_count"].max(), 100)
            label = "NB of median dispersion"
            curves += target.plot(
                grid, (1 + grid / theta) ** -theta, color=text_color(), ls=":", lw=0.8, label=label
            )
        target.yaxis.set_major_formatter(PercentFormatter(1.0))
        target.set(xlabel="mean count per cell", ylabel="cells without a count")
        plain_numbers(target.xaxis)
        # Hardly a gene of low mean has few zeros, so that this corner is free.
        target.add_artist(target.legend(handles=curves, loc="lower left"))
        legend_above(target, n_columns=4, handles=families)
        return finish(target, "zero_test", given=ax is not None, show=show, return_fig=return_fig)
