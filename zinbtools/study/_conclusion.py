"""Say what may be said from the numbers, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import get
from .._check.arguments import checked
from .._words.numbers import percent

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
    """Say how large a share of the entries is zero, and what the models expect."""
    genes = get.dropout_df(adata, key=key)
    observed, nb, zinb = (percent(genes[f"{who}_zero_fraction"].mean()) for who in ("observed", "nb", "zinb"))
    return f"Of all entries {observed} are zero; the NB expects {nb} and the ZINB {zinb}."
