"""What may be said from the numbers, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import get
from .._keys import Keys
from ._text import percent, with_error

if TYPE_CHECKING:
    from anndata import AnnData

CHECKS = ("dropout_ratio", "zeros_to_expression", "cv")


def conclusion(adata: AnnData, *, key: str | None = None) -> str:
    """Which model accounts better for the counts, by how much, and whether the zeros are expected.

    A difference within two standard errors of zero is not called one. The standard error covers the choice
    of cells; it does not cover the choice of a seed or of the split.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.fit_nb_zinb` and :func:`zinbtools.tl.marginal_ll` were run.
    key
        ``key_added`` of the fit to judge.

    Returns
    -------
    Two sentences: the held-out difference with its error, and the share of zeros beside each model's.

    Raises
    ------
    KeyError
        If one of the two verbs was not run.
    """
    return f"{_likelihood_sentence(adata, key)} {_zeros_sentence(adata, key)}"


def _likelihood_sentence(adata: AnnData, key: str | None) -> str:
    gain = get.nll_difference(adata, key=key)
    nb = adata.obs[Keys(key).marginal_ll("nb")].to_numpy(dtype=np.float64)
    share = f"{percent(abs(gain.mean) / -np.nanmean(nb))} of the NB's negative log likelihood"
    cells = f"{gain.n_cells:,} {_evaluated_split(adata, key)} cells"
    if gain.favours is None:
        return (
            f"NB and ZINB show no difference that these {cells} could establish: ZINB minus NB is "
            f"{with_error(gain.mean, gain.se)} nats per cell of log likelihood ({share}), within two "
            "standard errors of zero."
        )
    better, worse = ("ZINB", "NB") if gain.favours == "zinb" else ("NB", "ZINB")
    return (
        f"The {better} accounts better for these counts than the {worse}: on {cells} its log likelihood is "
        f"higher by {with_error(abs(gain.mean), gain.se)} nats per cell ({share})."
    )


def _evaluated_split(adata: AnnData, key: str | None) -> str:
    metrics = get.metrics_df(adata, key=key)
    return str(metrics.loc[metrics["metric"] == "nll", "split"].iloc[0])


def _zeros_sentence(adata: AnnData, key: str | None) -> str:
    genes = get.dropout_df(adata, key=key)
    observed, nb, zinb = (percent(genes[f"{who}_zero_fraction"].mean()) for who in ("observed", "nb", "zinb"))
    return f"Of all entries {observed} are zero; the NB expects {nb} and the ZINB {zinb}."


def summary(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """One row per model with the numbers that it is judged by.

    Parameters
    ----------
    adata
        Object on which the verbs of :mod:`zinbtools.tl` were run.
    key
        ``key_added`` of the fit to read.

    Returns
    -------
    Indexed by model: ``nll`` and ``nll_se`` (held-out, nats per cell, with its Monte Carlo error),
    ``ks_dropout_ratio``, ``ks_zeros_to_expression``, ``ks_cv`` and ``mean_dropout``, each of the restart
    that was best on validation; NaN for what was not measured.

    Raises
    ------
    KeyError
        If there is no fit under ``key``.
    """
    metrics = get.metrics_df(adata, key=key)
    best_restart = adata.uns[Keys(key).uns]["params"]["best_restart"]
    rows = {}
    for model in ("nb", "zinb"):
        best = (metrics["model"] == model) & (metrics["restart"] == int(best_restart[model]))
        ours = metrics[best].drop_duplicates("metric").set_index("metric")
        names = ["nll", *(f"ks_{check}" for check in CHECKS), "mean_dropout"]
        rows[model] = ours["value"].reindex(names)
        rows[model]["nll_se"] = ours["se"].get("nll", np.nan)
    table = pd.DataFrame(rows).T.rename_axis("model")
    return table[["nll", "nll_se", *(f"ks_{check}" for check in CHECKS), "mean_dropout"]]
