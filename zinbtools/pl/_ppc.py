"""Posterior predictive checks: what was seen against what each model predicts, gene by gene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._check.arguments import checked
from .._words.models import MODELS, model_name
from ..get import metrics_df, ppc_df, ppc_ks_df
from ..get._checks import check_words
from ._dropout import bins_of
from ._style import COLORS, finish, given_axes, new_axes, observed_color, plain_numbers, style, text_color

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

MANY_GENES = 500
SHARES = {"dropout_ratio", "one_ratio", "zeros_by_mean"}


@checked
def ppc(
    adata: AnnData,
    *,
    checks: str | Sequence[str] | None = None,
    kind: Literal["genes", "distribution"] = "genes",
    key: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Draw observed against predicted discrepancies, one panel per check.

    A gene on the diagonal is one whose discrepancy the model reproduces. The legend gives the study's KS
    distance between the observed and the predicted values over genes; it forgets which gene is which, the
    diagonal does not. In brackets the interval that holds 95 % of the distances of the model's own draws.
    Where there are more than 500 genes, a line per model is the median of what it predicts, over bins of the
    observed value: the model whose line is nearer to the diagonal is nearer to the data.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.ppc` was run.
    checks
        Names of the checks to draw; by default all that were run.
    kind
        ``"genes"``: predicted against observed value of each gene. ``"distribution"``: as in the study, the
        cumulative distribution over genes; the KS distance is the largest vertical gap, and the shaded band
        is as wide as that gap is for 97.5 % of the model's own draws.
    ax
        One axes per check; by default a new row of panels.

    Returns
    -------
    The axes in the order of the checks, the figure with ``return_fig=True``, or None once it was shown.

    Raises
    ------
    KeyError
        If :func:`~zinbtools.tl.ppc` was not run on the fit, or not with one of the ``checks``.
    ValueError
        If ``ax`` does not hold one axes per check.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.ppc(adata, n_samples=5)
    >>> axes = zt.pl.ppc(adata, show=False)
    >>> [ax.get_title() for ax in axes]
    ['share of zeros', 'zeros / mean non-zero count', 'coefficient of variation']
    """
    table = ppc_df(adata, key=key)
    names = _checks_to_draw(table, checks)
    metrics, distances = metrics_df(adata, best=True, key=key), ppc_ks_df(adata, key=key)
    words = check_words(adata, key)
    draw_panel = _draw_genes if kind == "genes" else _draw_distribution
    with style():
        axes = new_axes(len(names)) if ax is None else given_axes(ax, len(names), "checks")
        for target, name in zip(axes, names, strict=True):
            rows = distances[distances["check"] == name].set_index("model")
            null = {str(m): (float(row["null_low"]), float(row["null_high"])) for m, row in rows.iterrows()}
            labels: dict[str, str] = {
                model: f"{model_name(model)}{_ks(metrics, name, model)}{_interval(null, model)}"
                for model in MODELS
                if model in null
            }
            draw_panel(target, name, table[table["check"] == name], labels, null)
            target.set_title(words[name].label)
        return finish(axes, "ppc", given=ax is not None, show=show, return_fig=return_fig)


def _checks_to_draw(table: pd.DataFrame, checks: str | Sequence[str] | None) -> list[str]:
    run = list(table["check"].unique())
    wanted = run if checks is None else [checks] if isinstance(checks, str) else list(checks)
    if absent := [name for name in wanted if name not in run]:
        raise KeyError(
            f"checks: {', '.join(map(repr, absent))} not among {run}; run zt.tl.ppc with it first."
        )
    return wanted


def _draw_genes(
    ax: Axes, name: str, table: pd.DataFrame, labels: dict[str, str], null: dict[str, tuple[float, float]]
) -> None:
    genes = table.dropna(subset=["observed", "predicted"])
    # The models' points in one shuffled layer: neither hides the other.
    genes = genes.sample(frac=1.0, random_state=0)
    size = float(np.clip(3000 / max(len(genes), 1), 2.0, 10.0))
    ax.scatter(
        genes["observed"],
        genes["predicted"],
        s=size,
        c=genes["model"].map(COLORS).tolist(),
        alpha=0.25 if (many := genes["gene"].nunique() > MANY_GENES) else 0.6,
        linewidths=0,
        rasterized=True,
    )
    for model, width in (("nb", 2.4), ("zinb", 1.2)) if many else ():  # both are seen where they agree
        of_model = genes[genes["model"] == model]
        bins = of_model.groupby(bins_of(of_model["observed"]))[["observed", "predicted"]]
        ax.plot(*bins.median().to_numpy().T, color=COLORS[model], lw=width)
    low, high = _scale(ax, name, genes)
    ax.plot([low, high], [low, high], color=text_color(), lw=0.6, ls=":", zorder=3)
    ax.set(xlim=(low, high), ylim=(low, high), xlabel="observed", ylabel="predicted")
    if ax.get_xscale() != "linear":
        plain_numbers(ax.xaxis, ax.yaxis)
    for model, label in labels.items():
        ax.scatter([], [], s=14, c=COLORS[model], linewidths=0, label=label)
    ax.legend(loc="upper left", handletextpad=0.2, borderaxespad=0.2)


def _draw_distribution(
    ax: Axes, name: str, table: pd.DataFrame, labels: dict[str, str], null: dict[str, tuple[float, float]]
) -> None:
    genes = table.dropna(subset=["observed", "predicted"])
    for model, label in labels.items():
        values, below = _steps(genes.loc[genes["model"] == model, "predicted"])
        ax.step(values, below, where="post", color=COLORS[model], label=label)
        width = null[model][1]
        if np.isfinite(width):
            band = np.clip(below - width, 0, 1), np.clip(below + width, 0, 1)
            ax.fill_between(values, *band, step="post", color=COLORS[model], alpha=0.15, linewidth=0)
    observed = table.drop_duplicates("gene")["observed"].dropna()
    ax.step(*_steps(observed), where="post", color=observed_color(), label="observed")
    low, high = _scale(ax, name, genes, both=False)
    ax.set(xlim=(low, high), ylim=(0, 1), xlabel="value of a gene", ylabel="share of genes")
    if ax.get_xscale() != "linear":
        plain_numbers(ax.xaxis)
    ax.legend(loc="lower right" if name not in SHARES else "upper left")


def _steps(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return where an empirical distribution function rises, and to what; from its first value on."""
    ordered = np.sort(values.to_numpy(dtype=float))
    return np.r_[ordered[:1], ordered], np.arange(len(ordered) + 1) / max(len(ordered), 1)


def _scale(ax: Axes, name: str, genes: pd.DataFrame, *, both: bool = True) -> tuple[float, float]:
    """Set the horizontal axis, or both, linear or logarithmic, and return limits of the values."""
    setters = (ax.set_xscale, ax.set_yscale) if both else (ax.set_xscale,)
    values = genes[["observed", "predicted"]].to_numpy(dtype=float).ravel()
    if name not in SHARES and len(values) and (values > 0).all():
        for set_scale in setters:
            set_scale("log")
        return values.min() / 1.3, 1.3 * values.max()
    usual = np.quantile(values[values > 0], 0.05) if (values > 0).any() else 0.0
    if name in SHARES or values.max(initial=0.0) <= 20 * usual:
        low, high = values.min(initial=1.0), values.max(initial=0.01)
        return low - 0.05 * (high - low), high + 0.05 * (high - low)
    # A power of ten, so that no tick comes to lie in the linear part beside that of zero.
    smallest = 10.0 ** np.ceil(np.log10(usual))
    for set_scale in setters:
        set_scale("symlog", linthresh=smallest, linscale=0.6)
    return -0.3 * smallest, 1.3 * values.max()


def _ks(metrics: pd.DataFrame, check: str, model: str) -> str:
    found = metrics[(metrics["metric"] == f"ks_{check}") & (metrics["model"] == model)]["value"]
    return f", KS {found.iloc[-1]:.3f}" if len(found) else ""


def _interval(null: dict[str, tuple[float, float]], model: str) -> str:
    low, high = null[model]
    return f" ({low:.3f}–{high:.3f})" if np.isfinite(low) else ""
