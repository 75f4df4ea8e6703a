"""Table of what `tl.reads_per_molecule` found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._check.arguments import checked
from .._record.parts import READS
from .._record.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked
def reads_per_molecule_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Return how often molecules were read, a row for each batch.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.reads_per_molecule` was run.

    Returns
    -------
    ``batch``, ``n_cells``; ``reads_per_molecule``, the reads of all its cells over their molecules, and the
    ends ``low`` and ``high`` of a 95 % interval; ``molecules_per_cell``, the median; ``shape`` of the number
    of reads of a molecule, 1 for geometric ones and less where few molecules have most of the reads;
    ``gene_sd``, the standard deviation over genes of the logarithm of their own factor of the copies; and
    ``shape_sd``, the same of their own shapes: above 0.2 called genes are tested with a shape of their own.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.amplify(zt.simulate.gamma_poisson(n_obs=300, n_vars=400))
    >>> zt.tl.reads_per_molecule(adata)
    >>> zt.get.reads_per_molecule_df(adata)["n_cells"].tolist()
    [300]
    """
    return Record.read(adata, key)[READS].copy()
