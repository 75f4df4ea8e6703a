"""Say what may be said from the numbers, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import get
from .._check.arguments import checked
from .._record.parts import PARAMS
from .._record.record import Record
from .._words.models import MODELS
from .._words.numbers import counted, percent

if TYPE_CHECKING:
    from anndata import AnnData


@checked
def conclusion(adata: AnnData, *, key: str | None = None) -> str:
    """Say whether to zero-inflate, with the numbers that say so, and the share of zeros beside each model's.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.model_selection` was run.

    Returns
    -------
    The sentence of :func:`zinbtools.get.verdict`, and one on the zeros.

    Raises
    ------
    KeyError
        If the comparison was not run.
    """
    return f"{get.verdict(adata, key=key).sentence} {zeros_sentence(adata, key)}"


def zeros_sentence(adata: AnnData, key: str | None) -> str:
    """Say how large a share of the entries is zero, and what the best restart of each model expects."""
    record = Record.read(adata, key)
    n_fitted = int(record[PARAMS].get("n_cells", adata.n_obs))
    if n_fitted != adata.n_obs:  # what the models expect is known for all of the cells together only
        known = f"of {counted(n_fitted, 'cell')} that they know it for, {adata.n_obs:,} are here"
        return f"The share of zeros is not held against the models': {known}."
    genes = get.dropout_df(adata, key=key)
    shares = {who: genes[f"{who}_zero_fraction"].mean() for who in ("observed", *MODELS)}
    observed = f"{percent(shares['observed'])} are" if shares["observed"] else "none is"
    nb, zinb = (f"{percent(shares[model])} (restart {record.best_restart(model)})" for model in MODELS)
    cells = f"{counted(adata.n_obs, 'cell')}, those that were trained on among them"
    expected = f"the best NB expects {nb} and the best ZINB {zinb}"
    return f"Of all entries of {cells}, {observed} zero; {expected}."
