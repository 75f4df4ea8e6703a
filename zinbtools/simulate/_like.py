"""Simulate twins of a user's data: the same cells and genes, drawn anew without zero inflation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster.vq import kmeans2
from scipy.sparse.linalg import LinearOperator, svds

from .._anndata.counts import exact_counts, exact_type
from .._anndata.covariates import read_categories
from .._check.arguments import checked
from .._check.rng import RNG, generator
from ..stats.pln_factors import PLNFactors, normal_scores, pln_factors
from ._core import csr, inflate, no_inflation, seed_record
from ._inflation import Exponential, Floats, Inflation

# What k-means sees of a cell, and the most groups that it makes of one cell type.
_N_COMPONENTS = 15
_N_VARIABLE_GENES = 500
_MOST_GROUPS = 20
# Alternate scalings of cells and genes; five leave totals within a percent.
_N_SCALINGS = 5
_GENES_AT_ONCE = 500


@checked
def like(
    adata: AnnData,
    *,
    layer: str | None = None,
    groupby: str | Sequence[str] | None = None,
    lam: float | None = None,
    p: float | None = None,
    inflation: Inflation | None = None,
    share: float | None = None,
    cells_per_group: int | None = 150,
    n_factors: int = 20,
    rng: RNG = 0,
) -> AnnData:
    """Draw a twin of a data set, without zero inflation or with a known one.

    What would the answer for my data look like if I knew it? The default is the negative control: counts
    like the given ones, in which nothing is zero-inflated. With ``lam`` or ``inflation`` it is the positive
    control: the same counts, some of them lost.

    Each group of like cells is described by a Poisson-lognormal distribution with the means, variances
    and covariances of its genes (:func:`zinbtools.stats.pln_factors.pln_factors`), exposed to each cell's
    total count. The twin's cell n stands for cell n: it is of the same group and has about the same total.
    The totals of genes in a group are those of the data (the Poisson counts are drawn given their sums).
    Zeros in excess of what this model makes are not in the twin: that is what it is for.

    Parameters
    ----------
    groupby
        Column of ``obs`` with cell types, or several columns (types, batches), whose combinations then
        count. Cells of different types are never in one group.
    lam
        If given, counts are lost with probability p exp(-lam x^2), as in :func:`zisynth`.
    p
        Dropout probability in the limit of small counts, with ``lam`` only; 0.08 by default.
    inflation
        Any other rule of loss, in place of ``lam``.
    share
        Share of the genes that are inflated, from 0 to 1, with ``lam`` or ``inflation``; int(share * n_vars)
        genes, drawn at random. All by default.
    cells_per_group
        Within a type, or within all cells, groups of about so many cells are found by k-means on the leading
        components of the log counts, at most 20. None makes no groups but the types.
    n_factors
        Most factors by which genes vary together in a group.
    rng
        Seed: a whole number, or numpy's Generator, RandomState or SeedSequence; None is a new one each time.
        The counts before dropout depend on nothing else.

    Returns
    -------
    AnnData of the same cells and genes: counts in ``X``, those before dropout in ``layers["true_counts"]``
    (CSR, float32, or float64 if a count is above 2^24); ``obs``: the columns of ``groupby``, group,
    library_size (total of the cell in the data); ``var``: mean (of the data), log_sd (spread of the log rate
    in a group, averaged over cells), is_zero_inflated, expected_dropout; ``uns``: simulation (the settings)
    and inflation (the rule).

    Raises
    ------
    KeyError
        If there is no such layer or column.
    TypeError, ValueError
        If the counts are not whole, groups are missing for some cells, arguments contradict each other or
        are out of range.

    Notes
    -----
    Time and memory grow with cells times genes: the largest group is held as a dense float32 matrix a few
    times over.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.gamma_poisson(n_obs=400, n_vars=100)
    >>> control = zt.simulate.like(adata, groupby="cell_type")
    >>> inflated = zt.simulate.like(adata, groupby="cell_type", lam=0.1, p=0.3, share=0.5)
    >>> (control.X != inflated.layers["true_counts"]).nnz, control.X.nnz > inflated.X.nnz
    (0, True)
    """
    rule = _rule(lam, p, inflation, share)
    counts = sparse.csr_matrix(exact_counts(adata, layer, copy=True))
    random = generator(rng)
    keys = [groupby] if isinstance(groupby, str) else [] if groupby is None else list(groupby)
    obs: Any = adata.obs
    groups = _groups(counts, _types(obs, keys), cells_per_group, random)

    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    codes = groups.cat.codes.to_numpy()
    log_sd = np.zeros(adata.n_vars)
    empty = np.flatnonzero(totals == 0)
    rows, cells = [csr(np.zeros((empty.size, adata.n_vars)))], [empty]
    for code in range(len(groups.cat.categories)):
        of_group = np.flatnonzero((codes == code) & (totals > 0))
        if not of_group.size:
            continue
        block = counts[of_group]
        genes = np.unique(block.indices)
        fit = pln_factors(block[:, genes], totals[of_group], n_factors=n_factors)
        drawn = _draw(fit, totals[of_group], random)
        rows.append(sparse.csr_matrix((drawn.data, genes[drawn.indices], drawn.indptr), block.shape))
        cells.append(of_group)
        log_sd[genes] += fit.sd * of_group.size / adata.n_obs

    twin = AnnData(
        sparse.csr_matrix(sparse.vstack(rows, format="csr")[np.argsort(np.concatenate(cells))]),
        obs=obs[keys].assign(group=groups, library_size=totals),
        var=pd.DataFrame(
            {"mean": np.asarray(counts.mean(axis=0, dtype=np.float64)).ravel(), "log_sd": log_sd},
            index=adata.var_names.copy(),
        ),
        uns={
            "simulation": {
                "simulator": "like",
                "n_groups": len(groups.cat.categories),
                "n_factors": int(n_factors),
                "rng": seed_record(rng),
            }
            | ({"groupby": np.array(keys, dtype=object)} if keys else {})
        },
    )
    return (
        no_inflation(twin) if rule is None else inflate(twin, rule, random, 1.0 if share is None else share)
    )


def _rule(
    lam: float | None, p: float | None, inflation: Inflation | None, share: float | None
) -> Inflation | None:
    """Return the rule of what is lost, if anything; ValueError for arguments without a use."""
    if lam is not None and inflation is not None:
        raise ValueError("lam and inflation both say what is lost; give one of them.")
    if p is not None and inflation is not None:
        raise ValueError("p goes with lam, and inflation has probabilities of its own; give one of them.")
    if lam is None and inflation is None:
        for name, value in (("p", p), ("share", share)):
            if value is not None:
                raise ValueError(
                    f"{name} must go with lam or inflation, without which no count is lost, found "
                    f"{name}={value}; lam=0 loses counts of any size alike."
                )
    return inflation if lam is None else Exponential(0.08 if p is None else p, lam)


def _draw(fit: PLNFactors, totals: Floats, random: np.random.Generator) -> sparse.csr_matrix:
    """Draw counts of cells with the given expected totals, shape (n_cells, n_genes).

    Log rates take the normal scores by their ranks, so that the spread in the sample is that of the fit.
    """
    n_cells, single = totals.size, np.float32
    factors = random.standard_normal((fit.loadings.shape[1], n_cells), dtype=single)
    own = np.sqrt(np.maximum(fit.sd**2 - np.square(fit.loadings).sum(axis=1), 0)).astype(single)
    rates = random.standard_normal((fit.mean.size, n_cells), dtype=single)
    rates *= own[:, None]
    rates += fit.loadings.astype(single) @ factors
    scores = normal_scores(n_cells)
    np.put_along_axis(rates, rates.argsort(axis=1), (scores - scores[-1]).astype(single)[None], axis=1)
    rates *= fit.sd.astype(single)[:, None]
    np.exp(rates, out=rates)

    # Sinkhorn's scaling: cells to their totals, genes to theirs.
    exposure, gene_totals = np.ones(n_cells), np.round(fit.mean * n_cells)
    for _ in range(_N_SCALINGS):
        per_gene = _ratio(gene_totals, rates @ exposure.astype(single))
        exposure = _ratio(totals, per_gene.astype(single) @ rates)
    rates *= exposure.astype(single)

    blocks = []
    for start in range(0, fit.mean.size, _GENES_AT_ONCE):
        chance = rates[start : start + _GENES_AT_ONCE].astype(np.float64)
        chance /= np.maximum(chance.sum(axis=1, keepdims=True), 1e-300)
        drawn = random.multinomial(gene_totals[start : start + _GENES_AT_ONCE].astype(np.int64), chance)
        blocks.append(sparse.csr_matrix(drawn.astype(exact_type(drawn))))
    return sparse.csr_matrix(sparse.vstack(blocks, format="csr").T)


def _ratio(wanted: Floats, found: NDArray[np.floating[Any]]) -> Floats:
    """Divide; 0 where nothing is found."""
    return np.divide(wanted, found, out=np.zeros(wanted.shape), where=found > 0)


def _types(obs: pd.DataFrame, keys: list[str]) -> pd.Series:
    """Number the combinations of the columns; one type without a column."""
    types = pd.Series("", index=obs.index)
    for key in keys:
        types = types + read_categories(obs, key, "groupby") + " "
    return types


def _groups(
    counts: sparse.csr_matrix, types: pd.Series, cells_per_group: int | None, random: np.random.Generator
) -> pd.Series:
    labels = types.to_numpy(dtype=object).copy()
    for name in np.unique(labels):
        cells = np.flatnonzero(types == name)
        number = 1 if cells_per_group is None else min(cells.size // cells_per_group, _MOST_GROUPS)
        labels[cells] = [f"{name}{code:02}" for code in _clusters(counts[cells], number, random)]
    return pd.Series(labels, index=types.index).astype("category")


def _clusters(counts: sparse.csr_matrix, number: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Group cells by k-means on principal components of the log counts, depth taken out."""
    n_components = min(_N_COMPONENTS, min(counts.shape) - 1)
    if number < 2 or n_components < 1:
        return np.zeros(counts.shape[0], dtype=np.int64)
    with warnings.catch_warnings():
        # An empty cluster is one group less, nothing more.
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        return kmeans2(_components(counts, n_components), number, minit="++", seed=random)[1].astype(np.int64)


def _components(counts: sparse.csr_matrix, number: int) -> Floats:
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    scale = np.median(totals) / np.maximum(totals, 1)
    logs: Any = sparse.csr_array(counts.multiply(scale[:, None]))
    logs.data = np.log1p(logs.data)
    mean = np.asarray(logs.mean(axis=0)).ravel()
    # A single gene that tells cells apart is not to drown in the noise of thousands.
    variance = np.asarray(logs.multiply(logs).mean(axis=0)).ravel() - mean**2
    chosen = np.sort(np.argsort(-variance, kind="stable")[:_N_VARIABLE_GENES])
    logs, mean = logs[:, chosen], mean[chosen]
    # Centred without becoming dense.
    operator: Any = LinearOperator
    centred = operator(
        logs.shape,
        matvec=lambda v: logs @ v - mean @ v,
        rmatvec=lambda v: logs.T @ v - mean * v.sum(),
        matmat=lambda v: logs @ v - mean @ v,
        rmatmat=lambda v: logs.T @ v - np.outer(mean, v.sum(axis=0)),
        dtype=np.float64,
    )
    left, values, _ = svds(centred, k=number, v0=np.ones(min(logs.shape)))
    return np.asarray(left * values, dtype=np.float64)
