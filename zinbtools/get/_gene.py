"""One gene: its counts, and those that an NB and a ZINB expect around the network's means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from .._anndata.reading import checked_column, gene_names
from .._check.arguments import checked
from .._record.record import Record
from ..stats.count_models import fit_counts
from ._layers import layers_of
from ._settings import FitSettings

if TYPE_CHECKING:
    from anndata import AnnData

_LAST_COUNT = (5, 1_000)


@checked
def gene_df(
    adata: AnnData,
    gene: str,
    *,
    groupby: str | None = None,
    max_count: int | None = None,
    key: str | None = None,
) -> pd.DataFrame:
    """Tabulate how many cells have each count of a gene, and how many an NB and a ZINB expect.

    Both have the NB network's means for the cell's state, with the scale, the dispersion and the dropout
    probability that :func:`zinbtools.tl.zi_scores` fits to the gene over all cells.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.fit_nb_zinb` was run with the NB.
    groupby
        Column of ``obs``, such as the cell type; all cells together by default.

    Returns
    -------
    Columns ``group``, ``count`` (0 to ``max_count``, which stands for itself and more), ``observed``, ``nb``
    and ``zinb`` (numbers of cells). Cells that were added after the fit are left out.

    Raises
    ------
    KeyError
        If there is no such gene or column, or no fit.
    ValueError
        If the fit has no NB, the gene was not fitted, ``max_count`` is below 1, or there are other
        numbers than those that were fitted.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> table = zt.get.gene_df(adata, adata.var_names[3], max_count=5)
    >>> table["count"].tolist(), int(table["observed"].sum()), round(float(table["zinb"].sum()))
    ([0, 1, 2, 3, 4, 5], 400, 400)
    """
    record, names = Record.read(adata, key), gene_names(adata)
    settings = FitSettings.restored(record)
    if gene not in names:
        raise KeyError(f"gene {gene!r} is not in adata.var_names.")
    place = names.get_indexer([gene])
    means = layers_of(adata, "nb", ["mean"], place, key)[0].astype(np.float64)
    known = np.isfinite(means[:, 0])  # but for cells that were added after the fit
    if not known.any():
        raise ValueError(f"gene {gene!r} was not fitted; name one within mask_var.")
    fitted = settings.counts(adata, record.keys)
    column = np.flatnonzero(fitted.genes == place)
    counts = np.concatenate([block[:, column].toarray() for block in fitted.blocks()])
    counts, means, groups = counts[known], means[known], _groups(adata, groupby)[known]
    if max_count is None:
        max_count = int(np.clip(np.quantile(counts, 0.99), *_LAST_COUNT))
    expected = _expected(counts, np.maximum(means, 1e-12), max_count)
    capped = np.minimum(counts[:, 0], max_count).astype(int)
    frames = []
    for group in groups.cat.categories:
        members = (groups == group).to_numpy()
        frames.append(
            pd.DataFrame(
                {
                    "group": group,
                    "count": np.arange(max_count + 1),
                    "observed": np.bincount(capped[members], minlength=max_count + 1),
                    **{family: p[members].sum(axis=0) for family, p in expected.items()},
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _groups(adata: AnnData, groupby: str | None) -> pd.Series:
    if groupby is None:
        return pd.Series(pd.Categorical(["all cells"] * adata.n_obs), index=adata.obs_names)
    return checked_column(adata.obs, groupby, "groupby", "obs").astype(str).astype("category")


def _expected(counts: np.ndarray, means: np.ndarray, max_count: int) -> dict[str, np.ndarray]:
    """Compute the probability of each count in each cell, (n_obs, max_count + 1), the last of it and more."""
    fits = fit_counts(counts, means, families=["zinb"])
    found = {}
    for family in ("nb", "zinb"):
        f = fits.of(family)
        mu = means * np.exp(fits.coefficients[0, f, 0])
        theta = min(float(fits.inverse_dispersion[0, f]), 1e8)  # beyond, all but Poisson
        p = stats.nbinom.pmf(np.arange(max_count + 1), theta, theta / (theta + mu))
        p[:, -1] = stats.nbinom.sf(max_count - 1, theta, theta / (theta + mu))[:, 0]
        p *= 1 - fits.dropout[0, f]
        p[:, 0] += fits.dropout[0, f]
        found[family] = p
    return found
