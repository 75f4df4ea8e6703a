"""What may be said from the numbers, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import get
from .._keys import Keys
from .._text import percent, with_error

if TYPE_CHECKING:
    from anndata import AnnData


CLEAR = 4  # standard errors over cells, beyond which seeds and splits are unlikely to turn a difference


def conclusion(adata: AnnData, *, key: str | None = None) -> str:
    """Which model accounts better for the counts, by how much, and whether the zeros are expected.

    A difference within two standard errors of zero is not called one, and one within four is not called
    certain. The standard error covers the choice of cells; it does not cover the choice of a seed or of the
    split.

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
    if abs(gain.mean) < CLEAR * gain.se:
        return (
            f"The {gain.favours.upper()} seems to account better for these counts: on {cells} its log "
            f"likelihood is higher by {with_error(abs(gain.mean), gain.se)} nats per cell ({share}), which "
            f"is {abs(gain.mean) / gain.se:.1f} standard errors; another seed or split could turn it."
        )
    better, worse = ("ZINB", "NB") if gain.favours == "zinb" else ("NB", "ZINB")
    return (
        f"The {better} accounts better for these counts than the {worse}: on {cells} its log likelihood is "
        f"higher by {with_error(abs(gain.mean), gain.se)} nats per cell ({share})."
    )


def _evaluated_split(adata: AnnData, key: str | None) -> str:
    metrics = get.metrics_df(adata, key=key)
    return str(metrics.loc[metrics["metric"] == "nll", "split"].iloc[-1])


def _zeros_sentence(adata: AnnData, key: str | None) -> str:
    genes = get.dropout_df(adata, key=key)
    observed, nb, zinb = (percent(genes[f"{who}_zero_fraction"].mean()) for who in ("observed", "nb", "zinb"))
    return f"Of all entries {observed} are zero; the NB expects {nb} and the ZINB {zinb}."
