"""Tables of what changes with the model, beside what changes with the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .._check.arguments import checked
from .._record.parts import CONSEQUENCES_MEASURES, CONSEQUENCES_PAIRS
from .._record.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked
def consequences_df(
    adata: AnnData, *, of: Literal["measures", "pairs"] = "measures", key: str | None = None
) -> pd.DataFrame:
    """Tabulate how much restarts of one model, and of two, agree in what a user takes from them.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.consequences` was run.
    of
        What is asked.

    Returns
    -------
    ``"measures"``: indexed by measure, ``neighbours``, ``clusters``, ``variable genes`` and ``markers``: the
    mean agreement of restarts of the NB, ``nb``, of the ZINB, ``zinb``, and of one and the other,
    ``between``; the ``pval`` of models that are no further apart than seeds, with respect to all measures,
    and the ``position``. Agreement is the share in common, of clusters the adjusted Rand index.

    ``"pairs"``: the ``agreement`` of every two restarts in each ``measure``: model and restart of the
    ``first`` and the ``second``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, n_restarts=2, progress=False)
    >>> zt.tl.consequences(adata)
    >>> zt.get.consequences_df(adata)["position"].unique().tolist()
    ['undecided']
    """
    record = Record.read(adata, key)
    if of == "pairs":
        pairs: pd.DataFrame = record[CONSEQUENCES_PAIRS]
        return pairs.copy()
    measures: pd.DataFrame = record[CONSEQUENCES_MEASURES]
    return measures.set_index("measure")
