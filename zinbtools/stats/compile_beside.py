"""Have the tests of genes compiled in other processes, while this one does what comes before them.

numba takes half a minute for them the first time on a machine, and keeps what it compiled on disk, where
another process finds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from scipy import sparse

from ..kernels import compiling
from ..kernels.gene_bursts import Bursts
from ..kernels.gene_bursts import fit_bursts as fit_block
from ..kernels.gene_fit import Offsets
from .count_models import columns_of, fit_counts
from .dispersion_by_state import dispersion_by_state

_X = np.array([[0.0, 3.0], [2.0, 0.0], [1.0, 1.0], [4.0, 2.0]])  # counts of two genes in four cells


def fits() -> None:
    """Compile the fits of the families and what compares them."""
    fit_counts(_X, np.ones(len(_X)))


def others() -> None:
    """Compile what is asked of genes that are called."""
    x, (n_cells, n_genes) = sparse.csc_array(_X), _X.shape
    fit_block(
        columns_of(x, slice(0, n_genes)),
        Offsets(np.ones((1, n_cells)), np.ones((n_genes, 1)), np.ones((1, n_cells))),
        np.zeros((n_genes, n_cells), dtype=np.int64),
        np.full((n_genes, 3), -0.5),
        Bursts(np.empty(n_genes), *(np.empty((n_genes, *of)) for of in ((3,), (3, 3), (3,)))),
    )
    dispersion_by_state(_X[:, 0], np.ones(n_cells), _X)


def compile_beside() -> None:
    """Let two other processes compile the tests of genes as soon as this one has to compile something.

    `fit_counts`, with which every test of genes begins, waits for them. What they fail in is compiled here.
    """
    compiling.beside(*(_command(part) for part in (fits, others)))


def _command(part: Callable[[], None]) -> list[str]:
    return [sys.executable, "-c", f"from {__name__} import {part.__name__}; {part.__name__}()"]
