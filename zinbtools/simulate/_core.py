"""Lose counts by a rule, and keep the truth beside them: what all simulators share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike
from scipy import sparse

from .._check.rng import RNG
from ._inflation import Entries, Inflation, Uniform

TRUE_COUNTS = "true_counts"
IS_ZERO_INFLATED = "is_zero_inflated"
EXPECTED_DROPOUT = "expected_dropout"


def seed_record(rng: RNG) -> str:
    """Write a seed as ``uns`` can hold it; of a generator, whose state the caller knows, only its kind."""
    has_state = isinstance(rng, np.random.Generator | np.random.RandomState)
    return type(rng).__name__ if has_state else str(rng)


def no_inflation(adata: AnnData) -> AnnData:
    """Keep every count: the negative control."""
    return inflate(adata, Uniform(0.0), np.random.default_rng(0))


def inflate(adata: AnnData, inflation: Inflation, random: np.random.Generator, share: float = 1.0) -> AnnData:
    """Lose counts of ``X`` by a rule, in place, and write down the truth.

    The core of all simulators. A share of the genes, drawn at random, is subject to the rule. ``X`` becomes
    the counts that are left, ``layers["true_counts"]`` what was there; ``var["is_zero_inflated"]`` says for
    which genes a loss was possible, ``var["expected_dropout"]`` in which share of the cells one was to be
    expected, and ``uns["inflation"]`` holds the rule.

    Parameters
    ----------
    adata
        Whole counts in ``X``, any sparse or dense array; replaced.
    inflation
        The rule.
    random
        One number is drawn per count, whatever the rule: a rule with smaller probabilities loses a subset.
    share
        Share of the genes that the rule holds for; int(share * n_vars) of them are drawn.

    Returns
    -------
    ``adata``.

    Raises
    ------
    ValueError
        If a probability of the rule is out of range.
    """
    true: Any = adata.X
    obs: Any = adata.obs
    var: Any = adata.var
    rows, genes = np.repeat(np.arange(adata.n_obs), np.diff(true.indptr)), true.indices
    gene_mean = np.asarray(true.sum(axis=0, dtype=np.float64)).ravel() / max(adata.n_obs, 1)
    entries = Entries(true.data.astype(np.float64), rows, genes, gene_mean, obs, var)
    probability = np.asarray(inflation.probability(entries), dtype=np.float64)
    if probability.shape != genes.shape or not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError(
            f"{inflation!r} must give one probability from 0 to 1 for each of {genes.size} counts."
        )

    chosen = np.ones(adata.n_vars, dtype=bool)
    if share < 1:
        chosen[random.permutation(adata.n_vars)[int(share * adata.n_vars) :]] = False
    probability = np.where(chosen[genes], probability, 0.0)
    observed = true.copy()
    observed.data[random.random(genes.size) < probability] = 0
    observed.eliminate_zeros()

    adata.X = observed
    adata.layers[TRUE_COUNTS] = true
    adata.var[IS_ZERO_INFLATED] = np.bincount(genes, probability, adata.n_vars) > 0
    adata.var[EXPECTED_DROPOUT] = np.bincount(genes, probability, adata.n_vars) / max(adata.n_obs, 1)
    adata.uns["inflation"] = {**inflation.record(), "share": float(share)}
    return adata


def csr(counts: ArrayLike) -> sparse.csr_matrix:
    """Turn counts into what all simulators give."""
    return sparse.csr_matrix(np.asarray(counts, dtype=np.float32))


def names(kind: str, number: int) -> pd.Index:
    """Make numbered names that sort in the order of their numbers."""
    width = len(str(number - 1))
    return pd.Index([f"{kind}_{i:0{width}}" for i in range(number)])
