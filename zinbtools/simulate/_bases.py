"""Simulate counts without zero inflation, as sparse as real ones, of three families.

Each cell has a type, a batch and a library size; each gene has a mean. Expected counts are

    mu_ng = mean_g * library_n / mean library * type effect_(g, type of n) * batch effect_(g, batch of n)

scaled so that every gene's average over the cells is its mean. The families differ in what varies around
mu_ng from cell to cell: Gamma (negative binomial), lognormal with shared factors, or bursts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from .._anndata.counts import LARGEST_EXACT
from .._check.arguments import checked
from .._check.rng import RNG, generator
from ._core import csr, names, no_inflation, seed_record
from ._inflation import Floats

# Gene means of droplet data: small, with a few that are large. Their logarithms follow Student's t with few
# degrees of freedom, so that no single gene makes most of the counts, cut off at both ends.
_SMALLEST_MEAN, _MEDIAN_MEAN, _LARGEST_MEAN = 0.005, 0.03, 100.0
_LOG_MEAN_SCALE, _DEGREES_OF_FREEDOM = 1.3, 4


@checked
def gamma_poisson(
    n_obs: int = 2000,
    n_vars: int = 500,
    *,
    means: ArrayLike | None = None,
    inverse_dispersion: ArrayLike | None = None,
    n_types: int = 4,
    type_sd: float = 1.0,
    library_sd: float = 0.4,
    n_batches: int = 1,
    batch_sd: float = 0.3,
    rng: RNG = 0,
) -> AnnData:
    """Simulate negative binomial counts of several cell types: an NB model is exactly right here.

    Parameters
    ----------
    inverse_dispersion
        theta, one number or one per gene: the variance is mu + mu^2 / theta. By default log-normal around
        2, one per gene.

    Returns
    -------
    AnnData without inflation: the counts in ``X`` and again in ``layers["true_counts"]`` (CSR, float32);
    ``obs``: cell_type, batch, library_size (relative, mean 1); ``var``: mean, inverse_dispersion,
    is_zero_inflated (False); ``uns["simulation"]``: the settings; ``varm``: log_type_effect and
    log_batch_effect.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.gamma_poisson(n_obs=500, n_batches=2)
    >>> bool((adata.X != adata.layers["true_counts"]).nnz), 0.85 < 1 - adata.X.nnz / (500 * 500) < 0.97
    (False, True)
    """
    random = generator(rng)
    settings = _Settings(n_obs, n_vars, n_types, n_batches, type_sd, library_sd, batch_sd)
    base = _expect(settings, means, random)
    if inverse_dispersion is None:
        theta = 2 * np.exp(0.6 * random.standard_normal(n_vars))
    else:
        theta = _per_gene("inverse_dispersion", inverse_dispersion, n_vars)
    rates = base.expected * random.gamma(theta, 1 / theta, size=base.expected.shape)
    base.var["inverse_dispersion"] = theta
    return _counts("gamma_poisson", base, rates, random, seed_record(rng))


@checked
def poisson_lognormal(
    n_obs: int = 2000,
    n_vars: int = 500,
    *,
    means: ArrayLike | None = None,
    log_sd: ArrayLike = 0.7,
    n_factors: int = 8,
    factor_share: float = 0.5,
    n_types: int = 4,
    type_sd: float = 1.0,
    library_sd: float = 0.4,
    n_batches: int = 1,
    batch_sd: float = 0.3,
    rng: RNG = 0,
) -> AnnData:
    """Simulate Poisson-lognormal counts whose genes vary together: no NB is exactly right, none inflated.

    The log rate of a cell is log mu_n + s (sqrt(share) W f_n + sqrt(1 - share) e_n) - s^2 / 2, with f_n and
    e_n standard normal and rows of W of length 1.

    Parameters
    ----------
    log_sd
        s, standard deviation of the log rate in a cell type, one number or one per gene.
    n_factors
        Number of factors that genes share.
    factor_share
        Share of the variance of the log rate that the factors make, from 0 to 1.

    Returns
    -------
    AnnData as for :func:`gamma_poisson`, but with ``var["log_sd"]``, the factors in ``obsm["factors"]`` and
    their loadings in ``varm["loadings"]``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.poisson_lognormal(n_obs=500)
    >>> adata.shape, adata.obsm["factors"].shape, bool(adata.var["is_zero_inflated"].any())
    ((500, 500), (500, 8), False)
    """
    random = generator(rng)
    settings = _Settings(n_obs, n_vars, n_types, n_batches, type_sd, library_sd, batch_sd)
    base = _expect(settings, means, random)
    sd = _per_gene("log_sd", log_sd, n_vars)
    weights = random.standard_normal((n_vars, n_factors))
    loadings = weights * (sd * np.sqrt(factor_share) / np.linalg.norm(weights, axis=1))[:, None]
    factors = random.standard_normal((n_obs, n_factors))
    own = random.standard_normal((n_obs, n_vars)) * (sd * np.sqrt(1 - factor_share))
    rates = base.expected * np.exp(factors @ loadings.T + own - sd**2 / 2)
    base.var["log_sd"] = sd
    adata = _counts("poisson_lognormal", base, rates, random, seed_record(rng))
    adata.obsm["factors"], adata.varm["loadings"] = factors, loadings
    adata.uns["simulation"] |= {"n_factors": int(n_factors), "factor_share": float(factor_share)}
    return adata


@checked
def beta_poisson(
    n_obs: int = 2000,
    n_vars: int = 500,
    *,
    means: ArrayLike | None = None,
    bimodal_share: float = 0.2,
    n_types: int = 4,
    type_sd: float = 1.0,
    library_sd: float = 0.4,
    n_batches: int = 1,
    batch_sd: float = 0.3,
    rng: RNG = 0,
) -> AnnData:
    """Simulate bursts of transcription: a gene's promoter is on for a share Beta(k_on, k_off) of the time.

    Where the promoter switches slowly, k_on and k_off below 1, counts have two modes, one of them at
    zero: silent cells look like dropout, and a ZINB fits them better than an NB, although nothing was lost.

    Parameters
    ----------
    bimodal_share
        Share of genes with two modes, k_on and k_off from 0.1 to 0.5, from 0 to 1. The others have k_on
        from 1 to 5 and k_off from 10 to 30, close to an NB with inverse dispersion k_on.

    Returns
    -------
    AnnData as for :func:`gamma_poisson`, but with k_on, k_off and is_bimodal in ``var``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.beta_poisson(n_obs=500, n_vars=100)
    >>> int(adata.var["is_bimodal"].sum())
    20
    """
    random = generator(rng)
    settings = _Settings(n_obs, n_vars, n_types, n_batches, type_sd, library_sd, batch_sd)
    base = _expect(settings, means, random)
    is_bimodal = np.zeros(n_vars, dtype=bool)
    is_bimodal[random.permutation(n_vars)[: int(bimodal_share * n_vars)]] = True
    on = np.where(is_bimodal, random.uniform(0.1, 0.5, n_vars), random.uniform(1, 5, n_vars))
    off = np.where(is_bimodal, random.uniform(0.1, 0.5, n_vars), random.uniform(10, 30, n_vars))
    activity = random.beta(on, off, size=base.expected.shape)
    base.var["k_on"], base.var["k_off"], base.var["is_bimodal"] = on, off, is_bimodal
    rates = base.expected * activity * ((on + off) / on)
    return _counts("beta_poisson", base, rates, random, seed_record(rng))


class _Settings(NamedTuple):
    """What all families are asked for, in the order in which it is stored."""

    n_obs: int
    n_vars: int
    n_types: int
    n_batches: int
    type_sd: float
    library_sd: float
    batch_sd: float

    def stored(self) -> dict[str, float]:
        return {name: int(x) if name.startswith("n_") else float(x) for name, x in self._asdict().items()}


class _Base(NamedTuple):
    """Expected counts, shape (n_obs, n_vars), and what they were made of."""

    expected: Floats
    obs: pd.DataFrame
    var: pd.DataFrame
    varm: dict[str, Any]
    settings: _Settings


def _expect(settings: _Settings, means: ArrayLike | None, random: np.random.Generator) -> _Base:
    """Draw types, batches and library sizes, and compute the counts to be expected."""
    n_obs, n_vars, n_types, n_batches, type_sd, library_sd, batch_sd = settings
    mean = random.permutation(_spectrum(n_vars)) if means is None else _per_gene("means", means, n_vars)

    abundance = 1 / np.arange(1, n_types + 1)
    cell_type = random.choice(n_types, size=n_obs, p=abundance / abundance.sum())
    batch = random.permutation(np.arange(n_obs) % n_batches)
    library = np.exp(library_sd * random.standard_normal(n_obs))
    library /= library.mean()
    log_type = type_sd * random.standard_normal((n_vars, n_types)) * (random.random((n_vars, 1)) < 0.3)
    log_batch = (batch_sd if n_batches > 1 else 0.0) * random.standard_normal((n_vars, n_batches))

    expected = library[:, None] * np.exp(log_type[:, cell_type] + log_batch[:, batch]).T
    expected *= mean / expected.mean(axis=0)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(cell_type, categories=names("type", n_types)),
            "batch": pd.Categorical.from_codes(batch, categories=names("batch", n_batches)),
            "library_size": library,
        },
        index=names("cell", n_obs),
    )
    var = pd.DataFrame({"mean": mean}, index=names("gene", n_vars))
    return _Base(expected, obs, var, {"log_type_effect": log_type, "log_batch_effect": log_batch}, settings)


def _counts(name: str, base: _Base, rates: Floats, random: np.random.Generator, seed: str) -> AnnData:
    """Draw Poisson counts of these rates."""
    # Half the largest count leaves room for the Poisson draw.
    if not (highest := rates.max()) <= LARGEST_EXACT / 2:  # NaN, where what varies is without bounds
        raise ValueError(
            f"means and the spreads around them (such as type_sd and library_sd) must keep expected counts "
            f"below {LARGEST_EXACT // 2}, found {highest:.3g} in a cell; lower them."
        )
    adata = AnnData(
        csr(random.poisson(rates)),
        obs=base.obs,
        var=base.var,
        varm=base.varm,
        uns={"simulation": {"simulator": name, **base.settings.stored(), "rng": seed}},
    )
    return no_inflation(adata)


def _spectrum(n_vars: int) -> Floats:
    """Return gene means in increasing order: even quantiles, the smallest and the largest mean included."""
    ends = np.log(np.array([_SMALLEST_MEAN, _LARGEST_MEAN]) / _MEDIAN_MEAN) / _LOG_MEAN_SCALE
    lowest, highest = stdtr(_DEGREES_OF_FREEDOM, ends)
    levels = np.linspace(lowest, highest, n_vars) if n_vars > 1 else np.array([0.5])
    return _MEDIAN_MEAN * np.exp(_LOG_MEAN_SCALE * stdtrit(_DEGREES_OF_FREEDOM, levels))


def _per_gene(name: str, values: ArrayLike, n_vars: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape not in ((), (n_vars,)):
        raise ValueError(f"{name} must be one number or have shape ({n_vars},), found {array.shape}.")
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{name} must be finite and above 0, found {array.min()} to {array.max()}.")
    return np.broadcast_to(array, (n_vars,)).copy()
