"""Simulate counts of which only some genes are inflated, or take entries out of real counts."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from anndata import AnnData
from scipy import sparse

from .._anndata.counts import exact_counts
from .._check.arguments import checked
from .._check.rng import RNG, generator
from ._core import IS_ZERO_INFLATED, inflate
from ._inflation import Inflation, Uniform
from ._zisynth import zisynth

# What the study's sets with some inflated genes used, there with p = 0.08 or 0.1.
_STUDY = Uniform(0.08)


@checked
def mixed(
    share: float = 0.5, *, base: AnnData | None = None, inflation: Inflation = _STUDY, rng: RNG = 0
) -> AnnData:
    """Simulate counts of which only some genes are zero-inflated, to see which ones a method finds.

    Parameters
    ----------
    base
        Counts without inflation, of any simulator; left as they are. By default those of
        :func:`zisynth`: 12,000 cells x 50 genes.

    Returns
    -------
    A copy of ``base`` with the counts that are left in ``X``, the counts before in
    ``layers["true_counts"]``, the truth in ``var["is_zero_inflated"]``, in ``var["expected_dropout"]`` the
    share of cells in which a gene is expected to lose its count, and the rule in ``uns["inflation"]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or ``base`` is inflated already.

    Examples
    --------
    >>> import zinbtools as zt
    >>> base = zt.simulate.gamma_poisson(n_obs=2000, n_vars=100)
    >>> adata = zt.simulate.mixed(0.2, base=base, inflation=zt.simulate.Uniform(0.3))
    >>> int(adata.var["is_zero_inflated"].sum())
    20
    """
    random = generator(rng)
    if base is None:
        return inflate(zisynth(p=0, rng=random), inflation, random, share)
    if IS_ZERO_INFLATED in base.var and base.var[IS_ZERO_INFLATED].any():
        raise ValueError(
            f"base must be without inflation, found {int(base.var[IS_ZERO_INFLATED].sum())} inflated genes; "
            'give its layers["true_counts"] to knockout.'
        )
    return _with_losses(base, None, inflation, random, share)


@checked
def knockout(
    adata: AnnData, inflation: Inflation, *, layer: str | None = None, share: float = 1.0, rng: RNG = 0
) -> AnnData:
    """Take counts out of real data by a known rule, so that real data carries a known truth.

    The zeros that the data had before stay what they are, unknown; those that come on top are losses.

    Parameters
    ----------
    rng
        Seed: a whole number, or numpy's Generator, RandomState or SeedSequence; None is a new one each time.
        For a given seed and share a rule with smaller probabilities takes a subset of the counts.

    Returns
    -------
    ``obs`` and ``var`` of ``adata`` with the counts that are left in ``X``; further as for :func:`mixed`.
    Other layers, embeddings and results do not go along: they were made of the counts before.

    Raises
    ------
    KeyError
        If there is no such layer, or no column that the rule names.
    TypeError, ValueError
        If the counts are not whole, or an argument is out of range.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(p=0, n_obs=200)
    >>> taken = zt.simulate.knockout(adata, zt.simulate.Exponential(0.2, lam=0.01))
    >>> (taken.layers["true_counts"] != adata.X).nnz, taken.X.nnz < adata.X.nnz
    (0, True)
    """
    return _with_losses(adata, layer, inflation, generator(rng), share)


def _with_losses(
    adata: AnnData, layer: str | None, inflation: Inflation, random: np.random.Generator, share: float
) -> AnnData:
    # What was computed from the counts before (embeddings, fits, other layers) does not go along.
    obs: Any = adata.obs.copy()
    var: Any = adata.var.copy()
    copy = AnnData(
        sparse.csr_matrix(exact_counts(adata, layer, copy=True)),
        obs=obs,
        var=var,
        uns={key: deepcopy(adata.uns[key]) for key in ("simulation", "zisynth") if key in adata.uns},
    )
    return inflate(copy, inflation, random, share)
