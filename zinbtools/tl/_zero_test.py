"""`zero_test`: which family each gene's counts need, by regressions on the library size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .._anndata.counts import read_counts
from .._anndata.covariates import read_covariates
from .._anndata.reading import check_anndata, checked_column, gene_names
from .._anndata.results import storable, target_of
from .._check.arguments import checked
from .._record.keys import Keys
from .._record.parts import ZERO_TEST
from ..get._fitted import resolve_device
from ..jobs.threads import available_threads, single_threaded
from ..stats import zero_inflation as zi
from ..stats.count_models import FAMILIES, CountFits, Family
from ..stats.discrepancies import GeneStatistics
from ._added import says_what_it_added
from ._columns import fit_columns, gene_groups


@checked
@says_what_it_added
@single_threaded()
def zero_test(
    adata: AnnData,
    *,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    families: Family | Sequence[Family] = FAMILIES,
    batch_key: str | None = None,
    groupby: str | None = None,
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
    check_counts: bool = True,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Fit Poisson, NB, ZIP and ZINB regressions to every gene and say which family suffices.

    Means are a cell's total count times the gene's rate, or its rate in each batch and group:
    ``log mu_ng = log L_n + x_n b_g``. Without groups this is the textbook's question, whether there are more
    zeros than an NB with one mean makes; differences between cell types then count as zero inflation. With
    ``groupby`` they do not. `zi_scores` asks the same given the state of each cell as a network sees it.

    Likelihood ratios of nested families have half a chi-squared as null, as the parameter that one of them
    lacks cannot be negative, and are adjusted by Benjamini and Hochberg over the genes. The ZINB is held
    against the best of those whose dropout probability is negligible, at most 0.01, the NB among them.

    A gene is never said to need a ZIP or ZINB if it has a count in fewer than 20 cells, or in fewer than 20
    for each batch and group that has a rate of its own: of a few counts it is not known how many zeros a
    simpler family makes (`zinbtools.stats.zero_inflation.dropout_pval_adj`).

    Parameters
    ----------
    adata
        Cells x genes with raw counts. No fit is needed.
    mask_var
        Boolean column of ``var``, or boolean array: the genes to test. All by default.
    families
        Which to fit, of ``"poisson"``, ``"nb"``, ``"zip"``, ``"zinb"``; those that they contain come along.
    batch_key, groupby
        Columns of ``obs``, such as batches and cell types, whose categories have rates of their own.
    alpha
        False discovery rate at which a richer family is needed.
    negligible_dropout
        Dropout probabilities up to this one are no reason for a ZINB; with 0 it is tested against the NB.

    Returns
    -------
    ``None``, or the copy. Sets ``uns["zero_test"]``: ``params``, and ``genes``, the table that
    `zinbtools.get.zero_test_df` gives.

    Raises
    ------
    KeyError, ValueError, TypeError
        For counts, columns and settings that cannot be used.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.zero_test(adata, families=["nb", "zinb"])
    >>> zt.get.zero_test_df(adata).index.name
    'gene'
    """
    check_anndata(adata, copy)
    keys = Keys(key_added)
    counts = read_counts(adata, layer, mask_var, check_counts, empty_genes=True)
    libraries, sums = zip(*map(_sums, counts.blocks()), strict=True)
    library, sums = np.concatenate(libraries), reduce(add, sums)
    depth, n_counts = library / library.mean(), sums.n_cells - sums.n_zeros
    covariates = _covariates(adata, batch_key, groupby)
    fits = fit_columns(
        lambda genes: (block[:, genes] for block in counts.blocks()),
        n_counts,
        ((group, depth) for group in gene_groups(n_counts)),
        n_threads=available_threads(resolve_device("cpu")),
        covariates=covariates,
        families=families,
        negligible_dropout=negligible_dropout,
    )
    table = _table(fits, sums, alpha)
    table.insert(0, "gene", gene_names(adata)[counts.genes])
    settings = {
        "layer": layer,
        "mask_var": mask_var if isinstance(mask_var, str) else None,
        "families": list(families) if not isinstance(families, str) else [families],
        "batch_key": batch_key,
        "groupby": groupby,
        "alpha": alpha,
        "negligible_dropout": negligible_dropout,
    }
    target = target_of(adata, copy)
    target.uns[keys.zero_test] = {"params": storable(settings), ZERO_TEST.name: table}
    return target if copy else None


def _sums(counts: sparse.csr_array) -> tuple[np.ndarray, GeneStatistics]:
    """Sum the counts of each cell, and sums per gene."""
    return np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel(), GeneStatistics.from_counts(counts)


def _covariates(adata: AnnData, batch_key: str | None, groupby: str | None) -> np.ndarray | None:
    """Build one column for each batch and group; with both, the first group has none."""
    for argument, key in (("batch_key", batch_key), ("groupby", groupby)):
        n_missing = 0 if key is None else int(checked_column(adata.obs, key, argument, "obs").isna().sum())
        if n_missing:
            raise ValueError(f"{argument}: {key!r} is missing for {n_missing} cells; fill or drop them.")
    columns: list[np.ndarray] = []
    for key in (batch_key, groupby):
        if key is not None:
            hot = read_covariates(adata, categorical_keys=[key]).matrix(adata.obs).astype(np.float64)
            columns.append(hot[:, 1:] if columns and columns[0].shape[1] else hot)
    design = np.concatenate(columns, axis=1) if columns else np.zeros((adata.n_obs, 0))
    if not design.shape[1]:
        return None
    rank = np.linalg.matrix_rank(np.unique(design, axis=0))
    if rank < design.shape[1]:
        raise ValueError(
            f"batch_key {batch_key!r} and groupby {groupby!r} cannot be told apart: some groups are in "
            "batches of their own; give one of them."
        )
    return design


def _table(fits: CountFits, sums: GeneStatistics, alpha: float) -> pd.DataFrame:
    family, tests = zi.simplest(fits, alpha, sums.n_cells - sums.n_zeros)
    columns: dict[str, np.ndarray] = {
        "mean_count": sums.mean,
        "observed_zero_fraction": sums.n_zeros / sums.n_cells,
        "family": np.where(sums.mean > 0, family, "none"),
    }
    if "zinb" in tests:
        columns |= {
            "score": fits.gain,
            "score_se": fits.gain_se,
            "pval": zi.boundary_pval(zi.dropout_likelihood_ratio(fits)),
            "excess_zeros": zi.excess_zeros(fits, sums.n_zeros),
        }
    columns |= {f"{name}_pval_adj": values for name, values in tests.items()}
    for f, name in enumerate(FAMILIES):
        if np.isnan(fits.log_likelihood[:, f]).all():
            continue
        columns[f"{name}_log_likelihood"] = fits.log_likelihood[:, f]
        columns[f"{name}_aic"], columns[f"{name}_bic"] = fits.aic[:, f], fits.bic[:, f]
        columns[f"{name}_zero_fraction"] = fits.zeros[:, f] / fits.n_cells
        if name in ("nb", "zinb"):
            columns[f"{name}_inverse_dispersion"] = fits.inverse_dispersion[:, f]
        if name in ("zip", "zinb"):
            columns[f"{name}_dropout"] = fits.dropout[:, f]
    return pd.DataFrame(columns)
