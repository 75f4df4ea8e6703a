"""ZISynth, the synthetic counts of the 2019 study: Poisson-lognormal, then dropout by a known rule."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from .._anndata.counts import LARGEST_EXACT
from .._check.arguments import checked
from .._check.rng import RNG, generator
from ._core import csr, inflate, names, seed_record
from ._inflation import Exponential
from ._parameters import TYPES, Floats, builtin_parameters, read_parameters

PROBABILITY_OF_TYPE_2 = 0.7


@checked
def zisynth(
    lam: float = 0.0,
    *,
    p: float = 0.08,
    n_obs: int = 12_000,
    params: Mapping[str, ArrayLike] | str | PathLike[str] | None = None,
    rng: RNG = 0,
) -> AnnData:
    r"""Simulate counts of two cell types with dropout that falls with the count.

    Each cell is of type 2 with probability 0.7, else of type 0. Given its type c, with z ~ Normal(mu_c,
    Sigma_c), its counts before dropout are x_g ~ Poisson(exp z_g). Each count is then lost with
    probability p exp(-lam x_g^2), x_g being the realised count: ``lam=0`` loses any count alike, from
    ``lam=10`` on practically none is lost. Cells that end up without a count are kept (the built-in
    parameters make none).

    The same ``rng`` gives the same counts before dropout whatever ``lam`` and ``p``, and what is lost
    at a larger ``lam`` is lost at a smaller one too.

    Parameters
    ----------
    lam
        Decay of the dropout probability with the squared count, 0 or more. The study: 0, 0.001, 0.01,
        0.1, 1, 10.
    p
        Dropout probability in the limit of small counts, from 0 to 1.
    params
        ``mu_0``, ``mu_2`` of shape (n_genes,) and ``sigma_0``, ``sigma_2`` of shape (n_genes, n_genes),
        on the natural-log scale, as a mapping or as the path of an npz file. By default parameters of
        50 genes fitted to mouse cortex (Zeisel et al. 2015): type 0 oligodendrocytes, type 2 CA1
        pyramidal cells.

    Returns
    -------
    AnnData of n_obs cells x n_genes with the counts in ``X`` and those before dropout in
    ``layers["true_counts"]`` (CSR, float32), the type in ``obs["cell_type"]``, in
    ``var["is_zero_inflated"]`` whether the gene can lose a count and in ``var["expected_dropout"]`` in which
    share of the cells it is expected to, and the settings and parameters in ``uns["zisynth"]``.

    Raises
    ------
    ValueError
        If a number is out of range, an array is not what it must be, or counts beyond 2^24 are to be
        expected.
    KeyError
        If ``params`` lacks an array.
    TypeError
        If ``params`` or ``n_obs`` is of another type.

    Notes
    -----
    The model is that of the study; the random numbers are numpy's, in another order than the study's.

    Examples
    --------
    >>> adata = zisynth(lam=0.01, n_obs=500)
    >>> adata.shape, adata.obs["cell_type"].cat.categories.tolist()
    ((500, 50), ['0', '2'])
    >>> lost = adata.layers["true_counts"].nnz - adata.X.nnz
    >>> 0 < lost < 0.08 * adata.layers["true_counts"].nnz
    True
    """
    inflation = Exponential(p, lam)
    arrays = builtin_parameters() if params is None else read_parameters(params)
    random = generator(rng)

    is_type_2 = random.random(n_obs) < PROBABILITY_OF_TYPE_2
    settings = {
        "lam": float(lam),
        "p": float(p),
        "n_obs": int(n_obs),
        "probability_of_type_2": PROBABILITY_OF_TYPE_2,
        "rng": seed_record(rng),
        "params": arrays,
    }
    adata = AnnData(
        csr(_poisson_lognormal(arrays, is_type_2, random)),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(np.where(is_type_2, "2", "0"), categories=list(TYPES))},
            index=names("cell", n_obs),
        ),
        var=pd.DataFrame(index=names("gene", arrays["mu_0"].size)),
        uns={"zisynth": settings},
    )
    return inflate(adata, inflation, random)


def _poisson_lognormal(
    arrays: Mapping[str, Floats], is_type_2: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.int64]:
    log_rate = random.standard_normal((is_type_2.size, arrays["mu_0"].size))
    for cell_type, cells in zip(TYPES, (~is_type_2, is_type_2), strict=True):
        noise = log_rate[cells] @ _square_root(arrays[f"sigma_{cell_type}"])
        log_rate[cells] = arrays[f"mu_{cell_type}"] + noise
    # Half the largest count leaves room for the Poisson draw.
    if (highest := log_rate.max()) > np.log(LARGEST_EXACT / 2):
        raise ValueError(
            f"params must keep expected counts below {LARGEST_EXACT // 2}, "
            f"found e^{highest:.1f}; lower mu or sigma."
        )
    return random.poisson(np.exp(log_rate))


def _square_root(covariance: Floats) -> Floats:
    """Compute the symmetric square root: it needs no Cholesky and does not hang on signs of eigenvectors."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
