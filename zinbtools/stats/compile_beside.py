"""Have the tests of genes compiled in other processes, while this one does what comes before them.

numba takes half a minute for them the first time on a machine, about as long again where counts are reads,
and keeps what it compiled on disk, where another process finds it.
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
from .bursts import by_value
from .count_models import Copies, fit_counts
from .dispersion_by_state import dispersion_by_state

_X = np.array([[0.0, 3.0], [2.0, 0.0], [1.0, 1.0], [4.0, 2.0]])  # counts of two genes in four cells


def fits() -> None:
    """Compile the fits of the families and what compares them."""
    fit_counts(_X, np.ones(len(_X)))


def others() -> None:
    """Compile what is asked of genes that are called."""
    n_cells, n_genes = _X.shape
    fit_block(
        by_value(sparse.csc_array(_X)),
        Offsets(np.ones((1, n_cells)), np.ones((n_genes, 1)), np.ones((1, n_cells))),
        np.zeros((n_genes, n_cells), dtype=np.int64),
        np.full((n_genes, 3), -0.5),
        Bursts(np.empty(n_genes), *(np.empty((n_genes, *of)) for of in ((3,), (3, 3), (3,)))),
    )
    dispersion_by_state(_X[:, 0], np.ones(n_cells), _X)


def fits_of_reads() -> None:
    """Compile the fits again, for counts that are copies of molecules."""
    n_cells = len(_X)
    fit_counts(_X, np.ones(n_cells), copies=Copies(np.full(n_cells, 3.0), np.ones(n_cells)))


def compile_beside(of_reads: bool = False) -> None:
    """Let other processes compile the tests of genes as soon as this one has to compile something.

    `fit_counts`, with which every test of genes begins, waits for them. What they fail in is compiled here.
    """
    parts = (fits, fits_of_reads, others) if of_reads else (fits, others)
    compiling.beside(*map(_command, parts))


def _command(part: Callable[[], None]) -> list[str]:
    return [sys.executable, "-c", f"from {__name__} import {part.__name__}; {part.__name__}()"]
