"""How the parameters that `zinbtools.simulate.zisynth` ships were made from mouse cortex."""

from __future__ import annotations

from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from pln import pln_moments, pln_zero_fraction

from zinbtools.simulate._parameters import TYPES

Floats = NDArray[np.float64]


def fit_builtin_parameters(adata: AnnData) -> dict[str, Floats]:
    """Fit the shipped parameters, by the method of moments, to :func:`builtin_cells`.

    The shipped file is ``np.savez_compressed("zisynth.npz", **fit_builtin_parameters(adata))``.

    Parameters
    ----------
    adata
        Counts of Zeisel et al. 2015 in ``X``, with ``obs["cell_type"]`` and ``var["named"]``.

    Returns
    -------
    The four arrays of ZISynth, by their names.
    """
    fits = {cell_type: pln_moments(counts) for cell_type, counts in builtin_cells(adata).items()}
    return {f"{array}_{t}": getattr(fit, array) for t, fit in fits.items() for array in ("mu", "sigma")}


def builtin_cells(adata: AnnData) -> dict[str, Floats]:
    """Choose the cells and genes that the shipped parameters describe.

    Type 0 are the oligodendrocytes, type 2 the CA1 pyramidal cells. Candidates are the named genes that
    a Poisson-lognormal describes in both types, with

    - a mean count between 2 and 60;
    - a variance of the log rate of at most 1, that of the study's genes: beyond it a handful of cells
      makes the variance;
    - a share of zeros within 0.02 of a Poisson-lognormal's with the same mean and variance, because
      only genes without zero inflation can have a twin without. (This drops Xist, which half the cells
      lack for their sex.)

    Of these, 50 are taken evenly in order of the ratio of their means.

    Parameters
    ----------
    adata
        As for :func:`fit_builtin_parameters`.

    Returns
    -------
    Counts of shape (n_cells of the type, 50), by type.
    """
    cell_types = adata.obs["cell_type"].astype(str).to_numpy()
    counts: Any = adata.X
    cells: dict[str, Floats] = {
        cell_type: counts[cell_types == name].toarray().astype(np.float64)
        for cell_type, name in zip(TYPES, ("oligodendrocytes", "pyramidal CA1"), strict=True)
    }
    genes = np.flatnonzero(adata.var["named"])
    for of_type in cells.values():
        genes = genes[_is_poisson_lognormal(of_type[:, genes])]
    ratio = cells["0"][:, genes].mean(axis=0) / cells["2"][:, genes].mean(axis=0)
    chosen = genes[np.argsort(ratio, kind="stable")][np.linspace(0, genes.size - 1, 50).round().astype(int)]
    return {cell_type: of_type[:, chosen] for cell_type, of_type in cells.items()}


def _is_poisson_lognormal(counts: Floats) -> NDArray[np.bool_]:
    """Tell which genes meet the conditions of the built-in set in these cells."""
    mean = counts.mean(axis=0)
    usable = (mean > 2) & (mean < 60)
    mean = np.where(usable, mean, 1)
    # The diagonal of `pln_moments`, without the covariances of thousands of genes.
    variance = np.log(np.maximum((counts * (counts - 1)).mean(axis=0) / mean**2, 1))
    zeros = pln_zero_fraction(np.log(mean) - variance / 2, variance)
    return usable & (variance <= 1) & (np.abs((counts == 0).mean(axis=0) - zeros) < 0.02)
