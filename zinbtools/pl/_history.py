"""The course of the training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .._check.arguments import checked
from .._words.models import MODELS, model_name
from ..get import history_df
from ._style import COLORS, finish, legend_above, new_axes, style, text_color

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked
def history(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the ELBO per epoch, one line per model and restart.

    The validation ELBO is a full line with a dot where it was best, which is where the weights were kept;
    the training ELBO is dashed and pale. The axis is cut to the range of the second half of the epochs and
    as much again below it, so that the first epochs do not squash it.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> ax = zt.pl.history(adata, show=False)
    >>> ax.get_ylabel()
    'ELBO (nats per cell)'
    """
    table = history_df(adata, key=key)
    with style():
        target = ax if ax is not None else new_axes()[0]
        runs = table.groupby(["model", "restart"], observed=True)
        opacity = max(0.35, 1.0 / runs.ngroups**0.5)
        for (model, _), run in runs:
            _draw_run(target, run.sort_values("epoch"), COLORS[str(model)], opacity)
        target.set(xlabel="epoch", ylabel="ELBO (nats per cell)", ylim=_limits(table))
        models = [m for m in MODELS if m in set(table["model"])]
        legend_above(target, 4, handles=_legend(models))
        return finish(target, "history", given=ax is not None, show=show, return_fig=return_fig)


def _draw_run(ax: Axes, run: pd.DataFrame, color: str, opacity: float) -> None:
    ax.plot(run["epoch"], run["train_elbo"], color=color, alpha=0.5 * opacity, ls="--", lw=0.8)
    ax.plot(run["epoch"], run["validation_elbo"], color=color, alpha=opacity)
    validated = run.dropna(subset=["validation_elbo"]).nlargest(1, "validation_elbo")
    ax.plot(validated["epoch"], validated["validation_elbo"], "o", color=color, ms=3.5)


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    last = table.groupby(["model", "restart"], observed=True)["epoch"].transform("max")
    late = table.loc[table["epoch"] >= last / 2, ["train_elbo", "validation_elbo"]].to_numpy(dtype=float)
    # A validation ELBO can jump late too: a few wild epochs must not set the scale.
    low, high = np.nanquantile(late, 0.02), np.nanmax(late)
    span = max(high - low, 1e-3 * abs(high), 1e-6)
    return low - span, high + 0.1 * span


def _legend(models: Iterable[str]) -> list[Line2D]:
    kinds = [
        Line2D([], [], color=text_color(), marker="o", ms=3.5, label="validation, best"),
        Line2D([], [], color=text_color(), ls="--", lw=0.8, alpha=0.5, label="training"),
    ]
    return [Line2D([], [], color=COLORS[m], label=model_name(m)) for m in models] + kinds
