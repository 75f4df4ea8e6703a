"""Say what may be said from the numbers, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import get
from .._check.arguments import checked

if TYPE_CHECKING:
    from anndata import AnnData


@checked
def conclusion(adata: AnnData, *, key: str | None = None) -> str:
    """Say whether to zero-inflate, with the numbers that say so.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.model_selection` was run.

    Returns
    -------
    The sentence of :func:`zinbtools.get.verdict`.

    Raises
    ------
    KeyError
        If the comparison was not run.
    """
    return get.verdict(adata, key=key).sentence
