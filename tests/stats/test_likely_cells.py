"""The copies at which a cell's counts are most likely: near the truth, and each cell by itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from zinbtools.stats.cell_copies import Cells
from zinbtools.stats.count_models import Copies
from zinbtools.stats.likely_cells import LikelyCells

N_CELLS, N_GENES = 200, 250


@pytest.fixture(scope="module")
def reads() -> tuple[Cells, np.ndarray]:
    """Molecules of two kinds of cells, read by a Poisson number of times, and the copies of the cells."""
    random = np.random.default_rng(3)
    copies = 1 + 14 * random.lognormal(0, 0.4, N_CELLS)
    kinds = np.geomspace(0.1, 5, N_GENES) * random.lognormal(0, 1, (2, N_GENES))
    means = kinds[np.arange(N_CELLS) % 2] * random.lognormal(0, 0.3, (N_CELLS, 1))
    molecules = random.poisson(random.gamma(2.0, means / 2.0))
    counts = molecules + random.poisson(molecules * (copies[:, None] - 1))
    return Cells.around(sparse.csr_array(counts.astype(float)), means), copies


def test_copies_are_those_of_the_truth(reads: tuple[Cells, np.ndarray]) -> None:
    """From copies that are the same in all cells to begin with."""
    cells, true = reads
    alike = Copies(np.full(N_CELLS, 15.0), np.full(N_CELLS, 30.0), 0.2)
    found = np.log(LikelyCells.of(cells, alike).own_copies(cells))
    about = np.log(true) - np.log(true).mean()
    assert found.mean() == pytest.approx(0, abs=1e-9)
    assert np.corrcoef(found, about)[0, 1] > 0.95
    assert np.sqrt(np.mean((found - about) ** 2)) < 0.12


def test_a_cell_is_told_by_its_own_counts(reads: tuple[Cells, np.ndarray]) -> None:
    cells, true = reads
    learned, others = np.arange(150), np.arange(150, N_CELLS)
    known = Copies(true[learned], np.full(len(learned), 30.0), 0.2)
    genes = LikelyCells.of(cells.rows(learned), known)
    together = genes.own_copies(cells.rows(others))
    alone = [genes.own_copies(cells.rows(others[[k]]))[0] for k in (0, 7)]
    np.testing.assert_allclose(together[[0, 7]], alone, rtol=1e-6)
    assert np.corrcoef(np.log(together), np.log(true[others]))[0, 1] > 0.95


def test_a_cell_without_counts_has_typical_copies(reads: tuple[Cells, np.ndarray]) -> None:
    cells, true = reads
    genes = LikelyCells.of(cells, Copies(true, np.full(N_CELLS, 30.0), 0.2))
    empty = Cells(sparse.csr_array((1, N_GENES)), cells.shares[:1])
    typical = np.exp(np.log(genes.copies).mean() - genes.centre)
    assert genes.own_copies(empty)[0] == pytest.approx(typical, rel=0.02)
