"""Minibatches from compressed rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from zinbtools.model import data
from zinbtools.model.data import Batch, CountData
from zinbtools.stats.discrepancies import GeneStatistics

matrices = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.integers(0, 9))


@given(matrices, st.data())
def test_a_batch_holds_the_counts_of_its_cells(counts, chosen):
    counts[:, 0] += 1  # no cell without a count
    cells = chosen.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=8))
    batch = CountData(counts).batch(torch.tensor(cells))
    np.testing.assert_array_equal(batch.dense(), counts[cells])
    np.testing.assert_allclose(batch.log1p, np.log1p(counts[cells]), rtol=1e-6)
    np.testing.assert_allclose(batch.log_library, np.log(counts[cells].sum(1)), rtol=1e-6)
    np.testing.assert_array_equal(batch.positions % counts.shape[1], batch.genes)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix])
def test_the_container_does_not_matter(container):
    counts = np.random.default_rng(0).poisson(0.7, (20, 6)) + np.eye(20, 6, dtype=int)
    counts[:, 0] += 1
    reference, other = CountData(counts), CountData(container(counts))
    for a, b in zip(
        vars(reference.batch(torch.arange(20))).values(),
        vars(other.batch(torch.arange(20))).values(),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("genes", [None, slice(1, 3), np.array([0, 3])])
@pytest.mark.parametrize("chosen", [range(20), [3, 17, 4], [5], []])
def test_compressed_rows_come_in_blocks(chosen, genes, monkeypatch):
    """Of some genes too: all rows of these would be as many numbers as the data have, whatever the cells."""
    monkeypatch.setattr(data, "_ROWS", 2)
    counts = np.random.default_rng(2).poisson(0.7, (20, 4)) + 1
    blocks = list(CountData(counts).compressed(torch.tensor(list(chosen), dtype=torch.int64), genes))
    expected = counts[list(chosen)][:, slice(None) if genes is None else genes]
    np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), expected)
    whole = len(chosen) == len(counts) and genes is None
    assert all(block.shape[0] <= 2 for block in blocks) != whole


def test_statistics_are_those_of_the_cells():
    counts = np.random.default_rng(1).poisson(1, (30, 4)) + 1
    cells = np.array([3, 5, 29])
    ours, expected = CountData(counts).statistics(cells), GeneStatistics.from_counts(counts[cells])
    assert ours.n_cells == 3
    np.testing.assert_array_equal(ours.total_of_squares, expected.total_of_squares)


@given(matrices, st.data())
def test_minibatches_side_by_side_are_those_one_by_one(counts, chosen):
    counts[:, 0] += 1
    n = chosen.draw(st.integers(1, 4))
    cells = [
        torch.tensor(chosen.draw(st.lists(st.integers(0, len(counts) - 1), min_size=n, max_size=n)))
        for _ in range(3)
    ]
    data = CountData(counts)
    together, joined = data.side_by_side(cells), Batch.join([data.batch(own) for own in cells]).apart(3)
    for a, b in zip(vars(together).values(), vars(joined).values(), strict=True):
        assert torch.equal(a, b)
    np.testing.assert_array_equal(together.dense(), counts[np.stack(cells)])
    np.testing.assert_array_equal(
        together.genes // counts.shape[1], together.positions // (n * counts.shape[1])
    )
