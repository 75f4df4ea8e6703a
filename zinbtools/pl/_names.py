"""Names of genes as plots write them: symbols where there are some, and none longer than there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData


def gene_labels(adata: AnnData, gene_symbols: str | None) -> pd.Series:
    """Return what each gene is called in a plot, by its name in ``var_names``.

    Raises
    ------
    KeyError
        If there is no column ``gene_symbols`` in ``var``.
    """
    names = pd.Index(adata.var_names).astype(str)
    if gene_symbols is None:
        return pd.Series(names, index=names)
    if gene_symbols not in adata.var:
        raise KeyError(f"gene_symbols: {gene_symbols!r} is not in adata.var.")
    symbols = pd.Series(adata.var[gene_symbols].astype(object).to_numpy(), index=names)
    return symbols.where(symbols.notna() & (symbols.astype(str) != ""), names).astype(str)


def shortened(name: str, longest: int = 18) -> str:
    """Leave out the middle of a long name.

    Examples
    --------
    >>> (
    ...     shortened("Gapdh"),
    ...     shortened("ENSG00000111640", 11),
    ...     shortened("ENSG00000111640_GAPDH_protein-coding"),
    ... )
    ('Gapdh', 'ENSG…111640', 'ENSG0000…in-coding')
    """
    if len(name) <= longest:
        return name
    first = (longest - 2) // 2
    return f"{name[:first]}…{name[first + 1 - longest :]}"
