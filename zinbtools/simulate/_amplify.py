"""Turn molecules into reads: copy them a known number of times, and read some of the copies."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from anndata import AnnData
from scipy import sparse

from .._anndata.counts import LARGEST_EXACT, exact_counts
from .._check.arguments import checked
from .._check.rng import RNG, generator
from ._core import TRUE_COUNTS, seed_record
from ._inflation import Floats

MOLECULES, COPIES_OF_CELL, COPIES_OF_GENE = "molecules", "copies_per_molecule", "copies_factor"
_CYCLES = 12  # of PCR


@checked
def amplify(
    adata: AnnData,
    *,
    copies: float = 20.0,
    distribution: Literal["geometric", "negative binomial", "poisson", "lognormal", "pcr"] = "geometric",
    shape: float = 1.0,
    cell_sd: float = 0.3,
    gene_sd: float = 0.2,
    kept: float = 1.0,
    layer: str | None = None,
    rng: RNG = 0,
) -> AnnData:
    """Turn counts of molecules into counts of reads, with known copies.

    Every molecule is read at least once, and the zeros stay where they are, unless ``kept`` is below 1: then
    each read is kept with that probability, as in shallow sequencing, and a molecule of which no read is kept
    is lost. Dropout of molecules comes before: give counts from a simulator with a rule of loss.

    Such a loss is no zero inflation. Each molecule is lost by itself, so that many of them hardly ever become
    0, and what is left of negative binomial molecules is again negative binomial, with a smaller mean. A
    dropout takes all molecules that a gene has in a cell, however many.

    Parameters
    ----------
    adata
        Counts of molecules; left as they are.
    copies
        Mean number of reads of a molecule in a typical cell and of a typical gene; above 1.
    distribution
        Of the number of reads of a molecule: one plus a ``"geometric"``, ``"negative binomial"`` (of this
        ``shape``), ``"poisson"`` or ``"lognormal"``-Poisson number (with a standard deviation of the log of
        1), or the offspring of twelve cycles of ``"pcr"``, in each of which a copy is doubled with the same
        probability.
    shape
        Of the negative binomial numbers: the smaller, the more of the reads come from few molecules.
    cell_sd, gene_sd
        Standard deviations of the logarithms of the factors by which cells and genes differ in
        ``copies - 1``.
    kept
        Share of the reads that are kept, above 0 and up to 1.
    layer
        Key of ``layers`` with the molecules; ``X`` by default.

    Returns
    -------
    ``obs`` and ``var`` of ``adata`` with reads in ``X`` and the molecules in ``layers["molecules"]``;
    ``obs["copies_per_molecule"]``: the mean reads of a molecule of a typical gene in the cell, before any are
    lost; ``var["copies_factor"]``: that of the gene; ``uns["amplification"]``: the settings. Where ``adata``
    has ``layers["true_counts"]``, the molecules before dropout, these go along.

    Raises
    ------
    KeyError
        If there is no such layer.
    TypeError, ValueError
        If the counts are not whole, an argument is out of range, or there are too many reads.

    Examples
    --------
    >>> import zinbtools as zt
    >>> molecules = zt.simulate.gamma_poisson(n_obs=300, n_vars=100)
    >>> reads = zt.simulate.amplify(molecules, copies=10)
    >>> bool(((reads.X > 0) != (molecules.X > 0)).nnz)
    False
    >>> bool(8 < reads.X.sum() / molecules.X.sum() < 14)
    True
    """
    if kept == 0:
        raise ValueError("kept must be above 0, found 0: no read would be left.")
    random = generator(rng)
    molecules = sparse.csr_matrix(exact_counts(adata, layer, copy=True))
    of_cells = np.exp(cell_sd * random.standard_normal(adata.n_obs))
    of_genes = np.exp(gene_sd * random.standard_normal(adata.n_vars))
    cells, genes = np.repeat(np.arange(adata.n_obs), np.diff(molecules.indptr)), molecules.indices
    beyond = (copies - 1) * of_cells[cells] * of_genes[genes]
    number = molecules.data.astype(np.float64)
    if not (highest := float((number * (1 + beyond)).max(initial=0))) <= LARGEST_EXACT / 8:
        raise ValueError(
            f"copies must leave expected reads below {LARGEST_EXACT // 8}, found {highest:.3g}; lower them."
        )
    further = _further(number, beyond, distribution, shape, random)
    reads = molecules.copy()
    reads.data = number + further
    if kept < 1:
        reads.data = random.binomial(reads.data.astype(np.int64), kept).astype(np.float64)
        reads.eliminate_zeros()
    reads.data = reads.data.astype(np.float32)
    obs: Any = adata.obs.copy()
    var: Any = adata.var.copy()
    found = AnnData(reads, obs=obs, var=var, layers={MOLECULES: molecules})
    if TRUE_COUNTS in adata.layers:
        found.layers[TRUE_COUNTS] = adata.layers[TRUE_COUNTS].copy()
    found.obs[COPIES_OF_CELL] = 1 + (copies - 1) * of_cells
    found.var[COPIES_OF_GENE] = of_genes
    found.uns["amplification"] = {
        "copies": float(copies),
        "distribution": distribution,
        "shape": float(shape),
        "cell_sd": float(cell_sd),
        "gene_sd": float(gene_sd),
        "kept": float(kept),
        "rng": seed_record(rng),
    }
    return found


def _further(
    molecules: Floats, beyond: Floats, distribution: str, shape: float, random: np.random.Generator
) -> Floats:
    """Draw the reads of some molecules beyond the first of each; ``beyond`` is its mean per molecule."""
    if distribution in ("geometric", "negative binomial"):
        shape = 1.0 if distribution == "geometric" else shape
        return random.poisson(random.gamma(molecules * shape, beyond / shape)).astype(np.float64)
    if distribution == "poisson":
        return random.poisson(molecules * beyond).astype(np.float64)
    each = np.repeat(np.arange(len(molecules)), molecules.astype(np.int64))
    if distribution == "lognormal":
        of_each = random.poisson(beyond[each] * np.exp(random.standard_normal(len(each)) - 0.5))
    else:
        chance = np.minimum((1 + beyond[each]) ** (1 / _CYCLES) - 1, 1.0)
        number = np.ones(len(each), dtype=np.int64)
        for _ in range(_CYCLES):
            number += random.binomial(number, chance)
        of_each = number - 1
    return np.bincount(each, of_each, len(molecules)).astype(np.float64)
