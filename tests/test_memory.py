"""Counts are not copied, and nothing of all cells and genes is in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from zinbtools import tl
from zinbtools._anndata import findings
from zinbtools.jobs import processes
from zinbtools.model.data import CountData
from zinbtools.stats import cell_copies, discrepancies

N_CELLS, N_GENES = 6_000, 300


@pytest.fixture(scope="module")
def fitted() -> AnnData:
    """A fit to counts of which nearly all are positive, in rows, as they are taken without being copied."""
    rng = np.random.default_rng(0)
    rates = rng.lognormal(1.0, 0.3, N_GENES) * rng.gamma(3.0, 1 / 3.0, (N_CELLS, N_GENES))
    counts = sparse.csr_matrix(rng.poisson(rates).astype(np.float32))
    adata = AnnData(counts)
    tl.fit_nb_zinb(adata, max_epochs=1, n_draws=1, layers=(), progress=False)
    return adata


@pytest.fixture
def _few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory at a time is little beside these counts, as it is beside larger ones."""
    for module, name in ((findings, "_ENTRIES"), (discrepancies, "_AT_ONCE"), (cell_copies, "_AT_ONCE")):
        monkeypatch.setattr(module, name, 2**14)


def size_of(counts: sparse.csr_matrix) -> int:
    return counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes


def peak_of(call: Callable[[], object]) -> int:
    """Bytes that numpy and Python have at most, beyond those before."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("_few_at_a_time")
@pytest.mark.parametrize(
    "verb",
    [
        tl.embed,
        partial(tl.ppc, n_samples=2, n_null=1, progress=False),
        partial(tl.zi_scores, method="reconstruction", n_samples=1, progress=False),
        tl.reads_per_molecule,
    ],
    ids=lambda verb: getattr(verb, "func", verb).__name__,
)
def test_a_verb_takes_less_than_half_of_the_counts(verb: Callable[[AnnData], None], fitted: AnnData) -> None:
    few, all_ = fitted[:2000].copy(), fitted.copy()
    verb(few)  # what is imported and compiled stays
    assert peak_of(lambda: verb(all_)) < 0.5 * size_of(fitted.X)


def test_counts_in_rows_are_not_copied(fitted: AnnData) -> None:
    counts = fitted.X
    data = CountData(counts)
    (rows,) = data.compressed(torch.arange(N_CELLS))
    assert np.shares_memory(rows.data, counts.data)
    assert np.shares_memory(rows.indices, counts.indices)


def test_workers_have_the_counts_in_a_file(fitted: AnnData, tmp_path: Path) -> None:
    data = CountData(fitted.X)
    written = peak_of(lambda: processes._Stored.at(tmp_path / "data", data))
    stored = processes._Stored(tmp_path / "data")
    read = peak_of(lambda: stored.content)
    assert max(written, read) < 0.1 * size_of(fitted.X)
    found, expected = (of.batch(torch.arange(N_CELLS)) for of in (stored.content, data))
    assert torch.equal(found.dense(), expected.dense())
