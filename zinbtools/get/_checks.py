"""Tables of the predictive checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from .._check.arguments import checked
from .._record.parts import PPC_CHECKS, PPC_GENES, PPC_HISTOGRAMS, PPC_KS, PPC_RESIDUALS
from .._record.record import Record
from .._words.models import MODELS
from ..stats.discrepancies import CHECKS

if TYPE_CHECKING:
    from anndata import AnnData


class CheckWords(NamedTuple):
    """The words of a check that was run; see `zinbtools.stats.discrepancies.Check`."""

    label: str
    short: str
    reading: str


@checked
def ppc_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Return the posterior predictive checks, one row per gene, check and model.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.ppc` was run.

    Returns
    -------
    NaN where a check is undefined for a gene, as it may be when the gene has no count among the checked
    cells.

    ``gene``, ``check``, ``model``, ``observed``
        What was checked, and its value in the data.
    ``predicted``, ``sd``
        Mean and standard deviation over the posterior predictive draws.
    ``expected``
        ``predicted`` without the noise of drawn counts where there is a closed form: shares of cells, means.
    ``error``, ``z``
        Observed minus expected value; the same over ``sd``, where that is not 0.
    ``tail``
        Share of the draws, the data among them, above the observed value, ties by half: near 0 where the
        data have more than the model, near 1 where they have less.
    ``p_value``
        Of the tails that speak against a model by the check's direction; two-sided for the built-in ones.
        Not one to reject by with ``latent="posterior"``: see :func:`zinbtools.tl.ppc`.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.ppc(adata, n_samples=5, n_null=0)
    >>> zt.get.ppc_df(adata).columns.tolist()[:5]
    ['gene', 'check', 'model', 'observed', 'predicted']
    """
    record = Record.read(adata, key)
    wide = record[PPC_GENES]
    tidy = pd.concat([_of_model(wide, model) for model in MODELS if model in wide], ignore_index=True)
    tidy["expected"] = tidy["expected"].fillna(tidy["predicted"])
    tidy["error"] = tidy["observed"] - tidy["expected"]
    tidy["z"] = (tidy["error"] / tidy["sd"]).where(tidy["sd"] > 0)
    direction = record[PPC_CHECKS].set_index("check")["direction"]
    tail, side = tidy["tail"], tidy["check"].map(direction)
    two_sided = 2 * np.minimum(tail, 1 - tail)
    tidy["p_value"] = np.select([side == "high", side == "low"], [tail, 1 - tail], two_sided)
    return tidy


@checked
def ppc_ks_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Return the KS distances between observed and predicted checks, beside those of the model's own draws.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.ppc` was run.

    Returns
    -------
    One row per check and model, NaN where no null was asked for:

    ``check``, ``model``, ``ks``
        Kolmogorov-Smirnov distance over genes between observed values and means over draws.
    ``position``
        Where that distance stands among those of draws that take the place of the data, from 0 to 1: near
        1, the data are further from the prediction than the model's own draws are.
    ``null_mean``, ``null_low``, ``null_high``
        Mean of those distances, and the interval that holds 95 % of them.
    ``ks_draw``, ``ks_draw_sd``
        Mean and standard deviation of the distances between the data and single draws.
    ``ks_draw_null``
        Mean of the distances between two draws.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.ppc(adata, n_samples=5, n_null=5, checks="cv")
    >>> zt.get.ppc_ks_df(adata)["position"].between(0, 1).all().item()
    True
    """
    return Record.read(adata, key)[PPC_KS].copy()


@checked
def calibration_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Return the test of whether each gene's counts are distributed as predicted, by gene and model.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.ppc` was run with ``"pit"`` among its checks.

    Returns
    -------
    ``gene``, ``model``, ``statistic``, ``p_value``
        Neyman's smooth test of the uniformity of the gene's randomised quantile residuals.
    ``p_value_adjusted``
        By Benjamini and Hochberg, over the genes of a model.
    ``location``, ``spread``
        Standard normal for a true model; positive where the counts are larger, or more spread out, than
        predicted.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.ppc(adata, checks="pit")
    >>> zt.get.calibration_df(adata).shape
    (100, 7)
    """
    from scipy.stats import false_discovery_control  # takes long to load, and few tables need it

    wide = Record.read(adata, key)[PPC_RESIDUALS]
    models = [model for model in MODELS if f"{model}_p_value" in wide]
    tidy = pd.concat([_of_model(wide, model) for model in models], ignore_index=True)
    adjusted = tidy.groupby("model")["p_value"].transform(false_discovery_control)
    tidy.insert(4, "p_value_adjusted", adjusted)
    return tidy


def check_words(adata: AnnData, key: str | None) -> dict[str, CheckWords]:
    """Return the words of each check that was run, by its name."""
    checks = Record.read(adata, key)[PPC_CHECKS]
    return {row["check"]: CheckWords(*row[list(CheckWords._fields)]) for _, row in checks.iterrows()}


def metric_name(metric: str) -> str:
    """Write the name of a metric as tables have it.

    Examples
    --------
    >>> metric_name("ks_cv"), metric_name("mean_dropout")
    ('KS, variation', 'mean dropout')
    """
    check = CHECKS.get(metric.removeprefix("ks_"))
    return metric.replace("_", " ") if check is None else f"KS, {check.short}"


def residual_histograms(adata: AnnData, key: str | None) -> dict[str, np.ndarray]:
    """Return the randomised quantile residuals of each gene by twentieths, (n_genes, 20), for each model."""
    found = Record.read(adata, key)[PPC_HISTOGRAMS]
    return {model: np.asarray(found[model]) for model in MODELS if model in found}


def _of_model(wide: pd.DataFrame, model: str) -> pd.DataFrame:
    """Select the columns of one model; its name becomes a column of its own."""
    names = [str(name) for name in wide]
    others = [name for name in names if name == model or name.startswith(f"{model}_")]
    shared = [name for name in names if name.split("_")[0] not in MODELS]
    frame = wide[shared + others].rename(
        columns={name: "predicted" if name == model else name.removeprefix(f"{model}_") for name in others}
    )
    frame.insert(len(shared) - ("observed" in shared), "model", model)
    return frame
