"""The fits of a block of genes; what they find is held by the tests of `stats.count_models`."""

from __future__ import annotations

import numpy as np
import pytest
from gene_counts import draw, log_probabilities
from scipy import sparse

from zinbtools.kernels.gene_fit import Columns, Offsets, Output, Question, Table, fit_block
from zinbtools.kernels.gene_likelihood import NB, POISSON, ZIP
from zinbtools.stats.count_models import _empty


def fitted(x: np.ndarray, means: np.ndarray, families: list[int]) -> Output:
    """With one row of covariates, a one."""
    n_cells, n_genes = x.shape
    matrix, one = sparse.csc_array(x), np.ones((1, 1))
    table = Table(one, one, np.array([0, n_cells]), np.zeros(n_cells, np.int64))
    output, question = _empty(n_genes, 1), Question(np.isin(np.arange(4), families), 0.0, 0.0)
    columns = Columns(matrix.indptr, matrix.indices, matrix.data)
    offsets = Offsets(means, np.ones((1, n_cells)), np.ones((1, n_cells)))
    fit_block(columns, offsets, None, table, question, output)
    return output


def test_a_poisson_mean_is_the_total_by_that_of_the_means() -> None:
    x, depth = draw(200, [0.3, 4.0, 90.0], 1.0, 0.1)
    output = fitted(x, depth[None], [POISSON])
    b = output.estimate[:, POISSON, 0]
    np.testing.assert_allclose(b, np.log(x.sum(0) / depth.sum()), rtol=1e-9)
    by_hand = [log_probabilities(x[:, g], depth * np.exp(b[g]), np.inf, 0.0).sum() for g in range(3)]
    np.testing.assert_allclose(output.log_likelihood[:, POISSON], by_hand, rtol=1e-9)
    assert output.converged[:, POISSON].all()


def test_families_that_are_not_wanted_have_no_likelihood() -> None:
    x, depth = draw(200, [3.0], 1.0, 0.1)
    output = fitted(x, depth[None], [POISSON, NB])
    assert np.isfinite(output.log_likelihood[0]).tolist() == [True, True, False, False]
    assert np.isnan(output.gain).all()


@pytest.mark.parametrize("family", [NB, ZIP])
def test_a_gene_may_have_means_of_its_own(family: int) -> None:
    """A gene without counts is left as it was."""
    x, depth = draw(200, [3.0, 1.0, 3.0], 1.0, 0.1)
    x[:, 1] = 0
    shared, own = (fitted(x, means, [POISSON, family]) for means in (depth[None], np.tile(depth, (3, 1))))
    for ours, theirs in zip(shared, own, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.isnan(shared.log_likelihood[1]).all()
    doubled = fitted(x, np.outer([1, 1, 2], depth), [POISSON, family])
    shift = doubled.estimate[2, family, 0] - shared.estimate[2, family, 0]
    assert shift == pytest.approx(-np.log(2), abs=1e-6)
