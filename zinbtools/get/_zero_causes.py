"""Tables of why genes have their zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .._check.arguments import checked
from .._record.parts import CAUSES_FAMILIES, CAUSES_GENES
from .._record.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked
def zero_causes_df(
    adata: AnnData, *, of: Literal["genes", "families"] = "genes", key: str | None = None
) -> pd.DataFrame:
    """Tabulate why each fitted gene has its zeros, and what that rests on.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.explain_zeros` was run.
    of
        What is asked.

    Returns
    -------
    ``"genes"``: indexed by gene: ``mean`` count, ``excess_zeros`` (the share of the gene's zeros that an NB
    around the means of the cells' states does not make, by the gene's ZINB) and the ``cause``; and for the
    genes that need bursts or a dropout:

    ``margin``, ``margin_se``
        Mean over cells of the log likelihood of bursts minus that of a dropout, nats per cell.
    ``pval``, ``pval_adj``
        Of a mean difference of 0, and adjusted by Benjamini and Hochberg among these genes.
    ``cells_needed``
        How many cells would tell the two apart with a power of 0.8, if the difference is as it was found.
    ``dropout``
        Dropout probability of the ZINB, averaged over cells.
    ``burst_frequency``, ``burst_size``, and the standard errors of their logarithms, ``..._se``
        Bursts in the lifetime of a molecule, and molecules of a burst in a cell of average mean (as many of
        them as are counted), if the gene is in bursts. Standard errors are NaN where the best Beta-Poisson is
        an NB or a Poisson number that drops out.

    ``"families"``, after ``held_out=True``: a row for each family that all genes were fitted with on the
    training cells, around the NB network's means: ``n_parameters`` of a gene, ``log_likelihood`` of the test
    cells (nats per cell, all genes together), its ``difference`` from that of the NB with the standard error
    ``se``, degrees of freedom ``df`` and the ends of its interval, ``low`` and ``high``. Genes and cells are
    both taken for samples, so that the error is that of other genes and other cells.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.explain_zeros(adata)
    >>> zt.get.zero_causes_df(adata)["cause"].isin(["none", "bursting", "cannot tell"]).any()
    np.True_
    """
    record = Record.read(adata, key)
    if of == "families":
        families: pd.DataFrame = record[CAUSES_FAMILIES]
        return families.copy()
    genes: pd.DataFrame = record[CAUSES_GENES]
    return genes.set_index("gene")
