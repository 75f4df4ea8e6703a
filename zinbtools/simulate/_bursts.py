"""Simulate genes in bursts, by cell type and allele, and mixtures of all that makes zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike

from .._check.arguments import checked
from .._check.rng import RNG, generator
from ._bases import _Base, _counts, _expect, _per_gene, _Settings
from ._core import inflate, seed_record
from ._inflation import Floats, PerGene

_RATES = (0.2, 1.0)  # of slow genes, per lifetime of a molecule: log-uniform
_DROPOUT = (0.1, 0.3)  # uniform
_THETA, _THETA_SD = 2.0, 0.6  # log-normal
_CAUSES = ("none", "dispersion", "covariate", "bursting", "dropout")


@checked
def bursting(
    n_obs: int = 2000,
    n_vars: int = 500,
    *,
    means: ArrayLike | None = None,
    frequency: ArrayLike | None = None,
    off_rate: ArrayLike | None = None,
    frequency_sd: float = 0.0,
    n_alleles: int = 2,
    capture: float = 0.1,
    n_types: int = 4,
    type_sd: float = 1.0,
    library_sd: float = 0.4,
    n_batches: int = 1,
    batch_sd: float = 0.3,
    rng: RNG = 0,
) -> AnnData:
    """Simulate two-state promoters: each allele of a gene is on at times, and makes molecules while it is.

    An allele that is switched on with rate k_on and off with rate k_off, per lifetime of a molecule, and
    makes ``lambda`` molecules per lifetime while on, has Poisson(lambda u) of them, u ~ Beta(k_on, k_off)
    (Peccoud and Ycart 1995). Alleles are independent. A share of the molecules is counted, in proportion to
    the cell's library size.

    Parameters
    ----------
    frequency, off_rate
        k_on and k_off of an allele, one number or one per gene; by default log-uniform from 0.2 to 1: slow.
    frequency_sd
        Standard deviation, over types, of the logarithm of a gene's k_on; its mean follows.
    n_alleles
        Of each gene; 1 or more.
    capture
        Share of the molecules that is counted, above 0 to 1. The means are those of the counts.
    type_sd
        Of the effects of types on the size of bursts.

    Returns
    -------
    AnnData as for :func:`gamma_poisson`, but with ``varm["k_on"]`` and ``varm["burst_size"]``, molecules per
    burst in each type before capture (lambda / k_off), (n_vars, n_types); ``var["k_on"]`` and
    ``var["burst_size"]``, their averages over the cells, and ``var["k_off"]``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.bursting(n_obs=500, n_vars=100, n_alleles=1)
    >>> adata.varm["burst_size"].shape
    (100, 4)
    """
    random = generator(rng)
    settings = _Settings(n_obs, n_vars, n_types, n_batches, type_sd, library_sd, batch_sd)
    base = _expect(settings, means, random)
    on, off = (
        _between(_RATES, n_vars, random) if given is None else _per_gene(name, given, n_vars)
        for name, given in (("frequency", frequency), ("off_rate", off_rate))
    )
    of_types = on[:, None] * np.exp(frequency_sd * random.standard_normal((n_vars, n_types)))
    rates, size = _bursts(base, of_types, off, n_alleles, random)
    code = base.obs["cell_type"].cat.codes.to_numpy()
    base.var["k_on"], base.var["k_off"] = of_types[:, code].mean(1), off
    base.varm["k_on"], base.varm["burst_size"] = of_types, size / capture
    base.var["burst_size"] = (size / capture)[:, code].mean(1)
    adata = _counts("bursting", base, rates, random, seed_record(rng))
    more = {"frequency_sd": float(frequency_sd), "n_alleles": int(n_alleles), "capture": float(capture)}
    adata.uns["simulation"] |= more
    return adata


@checked
def zero_causes(
    n_obs: int = 2000,
    n_vars: int = 500,
    *,
    shares: Mapping[str, float] | None = None,
    means: ArrayLike | None = None,
    dispersion_sd: float = 0.9,
    n_alleles: int = 1,
    n_types: int = 4,
    type_sd: float = 1.0,
    library_sd: float = 0.4,
    n_batches: int = 1,
    batch_sd: float = 0.3,
    rng: RNG = 0,
) -> AnnData:
    """Simulate genes whose zeros have different causes, and say which has which.

    ``none``: NB, theta log-normal around 2. ``dispersion``: NB with a theta for each cell type.
    ``covariate``: NB, silent in the cells of one sex. ``bursting``: as :func:`bursting`, slow. ``dropout``:
    NB that loses 10 to 30 % of its counts.

    Parameters
    ----------
    shares
        Of the genes that have each cause, relative to one another; by default all five have the same.
    dispersion_sd
        Standard deviation over types of log theta of the genes of that cause.
    n_alleles
        Of the genes in bursts.

    Returns
    -------
    AnnData as for :func:`gamma_poisson`, with ``var["cause"]``, ``var["k_on"]``, ``var["k_off"]``,
    ``var["burst_size"]`` (counts per burst) and ``var["inverse_dispersion"]``, NaN where a gene has none, and
    ``obs["sex"]``. What was lost is in ``var["expected_dropout"]`` and ``layers["true_counts"]``.

    Raises
    ------
    ValueError
        If ``shares`` names another cause, or none of them is above 0.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zero_causes(300, 50, shares={"none": 1, "dropout": 1})
    >>> adata.var["cause"].value_counts().to_dict()
    {'dropout': 25, 'none': 25}
    """
    random = generator(rng)
    given = dict.fromkeys(_CAUSES, 1.0) if shares is None else dict(shares)
    if unknown := sorted(set(given) - set(_CAUSES)):
        raise ValueError(f"shares may name {', '.join(map(repr, _CAUSES))}, found {unknown[0]!r}.")
    weights = np.array([float(given.get(cause, 0.0)) for cause in _CAUSES])
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"shares must be 0 or more, and one of them above 0, found {given!r}.")
    settings = _Settings(n_obs, n_vars, n_types, n_batches, type_sd, library_sd, batch_sd)
    base = _expect(settings, means, random)
    ends = np.cumsum(weights) / weights.sum()
    cause = np.array(_CAUSES, dtype=object)[np.searchsorted(ends, (np.arange(n_vars) + 0.5) / n_vars)]
    cause = random.permutation(cause)
    rates = _rates(base, cause, dispersion_sd, n_alleles, random)
    base.var["cause"] = pd.Categorical(cause, categories=sorted(_CAUSES)).remove_unused_categories()
    dropout = np.where(cause == "dropout", random.uniform(*_DROPOUT, n_vars), 0.0)
    adata = _counts("zero_causes", base, rates, random, seed_record(rng))
    adata.uns["simulation"] |= {"dispersion_sd": float(dispersion_sd), "n_alleles": int(n_alleles)}
    return inflate(adata, PerGene(dropout), random)


def _rates(
    base: _Base, cause: np.ndarray, dispersion_sd: float, n_alleles: int, random: np.random.Generator
) -> Floats:
    """Draw the Poisson rates of all entries, and write the truth into the base."""
    n_obs, n_vars = base.expected.shape
    code = base.obs["cell_type"].cat.codes.to_numpy()
    theta = _THETA * np.exp(_THETA_SD * random.standard_normal(n_vars))
    by_type = np.exp(dispersion_sd * random.standard_normal((n_vars, code.max() + 1)))
    of_cells = theta * np.where(cause == "dispersion", by_type[:, code].T, 1.0)
    rates = base.expected * random.gamma(of_cells, 1 / of_cells)
    sex = random.integers(0, 2, (n_obs,))
    base.obs["sex"] = pd.Categorical.from_codes(sex, categories=["female", "male"])
    on_in = random.integers(0, 2, n_vars)
    rates *= np.where(cause == "covariate", 2.0 * np.equal.outer(sex, on_in), 1.0)
    slow = cause == "bursting"
    on, off = (_between(_RATES, n_vars, random) for _ in range(2))
    of_bursts, size = _bursts(base, on[:, None] * np.ones(code.max() + 1), off, n_alleles, random)
    rates = np.where(slow, of_bursts, rates)
    base.var["inverse_dispersion"] = np.where(slow, np.nan, theta)
    for name, values in {"k_on": on, "k_off": off, "burst_size": size[:, code].mean(1)}.items():
        base.var[name] = np.where(slow, values, np.nan)
    return rates


class _Draws(NamedTuple):
    """Poisson rates of bursts, (n_obs, n_vars), and counts per burst in each type, (n_vars, n_types)."""

    rates: Floats
    size: Floats


def _bursts(base: _Base, on: Floats, off: Floats, n_alleles: int, random: np.random.Generator) -> _Draws:
    """Draw bursts whose averages over cells are the means; ``on`` is that of types, (n_vars, n_types)."""
    code = base.obs["cell_type"].cat.codes.to_numpy()
    activity = on / (on + off[:, None])  # share of the time that an allele is on
    of_cells = np.zeros(base.expected.shape)
    for _ in range(n_alleles):
        of_cells += random.beta(on[:, code].T, off) / n_alleles
    # a type in which an allele is on more often has a larger mean; the size is what the other effects make
    largest = base.expected / activity.mean(1)
    largest *= base.expected.mean(0) / (largest * activity[:, code].T).mean(0)
    n_of_type = np.maximum(np.bincount(code, minlength=on.shape[1]), 1)
    by_type = np.stack([np.bincount(code, column, on.shape[1]) / n_of_type for column in largest.T])
    return _Draws(largest * of_cells, by_type / (n_alleles * off[:, None]))


def _between(ends: tuple[float, float], n: int, random: np.random.Generator) -> Floats:
    low, high = ends
    return np.exp(random.uniform(np.log(low), np.log(high), n))
