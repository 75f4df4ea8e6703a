"""The search for settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .._check.arguments import checked
from .._words.models import MODELS, model_name
from ..get import tuning_df, tuning_summary_df
from ._style import COLORS, finish, legend_above, new_axes, style, text_color

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked
def tuning(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the NLL of every trial on validation cells, with the best so far and the default.

    Dots are trials, rings those that were pruned (at minus their last ELBO), crosses at the upper edge those
    that failed or whose NLL is beyond it. The line is the best so far, the dashes are the default setting.
    With a setting for both models, the best is that of both together.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.tune` was run.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.tune(adata, max_evals=2, max_epochs=3, n_samples=5, models="nb", progress=False)
    >>> ax = zt.pl.tuning(adata, show=False)
    >>> ax.get_ylabel()
    'validation NLL (nats per cell)'
    """
    table, summary = tuning_df(adata, key=key), tuning_summary_df(adata, key=key)
    low, high = _limits(table, summary)
    with style():
        target = ax if ax is not None else new_axes()[0]
        for model, trials in table.groupby("model", observed=True):
            _draw_model(target, trials.sort_values("trial"), COLORS[str(model)], high)
        for model, nll in zip(summary["model"], summary["default_nll"], strict=True):
            target.axhline(nll, color=COLORS[model], ls="--", lw=0.8)
        target.set(xlabel="trial", ylabel="validation NLL (nats per cell)", ylim=(low, high))
        legend_above(target, 4, handles=_legend([m for m in MODELS if m in set(table["model"])]))
        return finish(target, "tuning", given=ax is not None, show=show, return_fig=return_fig)


def _draw_model(ax: Axes, trials: pd.DataFrame, color: str, high: float) -> None:
    shown = trials["nll"].fillna(-trials["elbo"])
    beyond = ~(shown < high)
    pruned = ~beyond & (trials["status"] == "pruned")
    good = ~beyond & (trials["status"] == "ok")
    ax.plot(trials["trial"][good], shown[good], "o", color=color, ms=3, mew=0)
    ax.plot(trials["trial"][pruned], shown[pruned], "o", color=color, ms=3, mfc="none", mew=0.6)
    ax.plot(trials["trial"][beyond], np.full(beyond.sum(), high), "x", color=color, ms=3.5, clip_on=False)
    best = _best_so_far(trials)
    ax.step(best["trial"], best["nll"], color=color, where="post")


def _best_so_far(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the NLL of the trial that was best by then; models that share settings share the trial."""
    losses = trials["loss"].where(trials["trial_status"] == "ok")
    leading = losses.notna() & (losses <= losses.cummin())
    return trials.assign(nll=trials["nll"].where(leading).ffill())


def _limits(table: pd.DataFrame, summary: pd.DataFrame) -> tuple[float, float]:
    """Return limits from a little below the best, so that three quarters of the trials are seen."""
    marks = np.append(summary["best_nll"], summary["default_nll"].dropna())
    low = np.nanmin([*marks, *table["nll"]])
    high = max(marks.max(), table["nll"].quantile(0.75), low)
    span = max(high - low, 1e-3 * abs(high), 1e-6)
    return low - 0.08 * span, high + 0.15 * span


def _legend(models: list[str]) -> list[Line2D]:
    kinds = [
        Line2D([], [], color=text_color(), marker="o", ms=3, label="trial, best"),
        Line2D([], [], color=text_color(), ls="--", lw=0.8, label="default"),
    ]
    return [Line2D([], [], color=COLORS[m], label=model_name(m)) for m in models] + kinds
