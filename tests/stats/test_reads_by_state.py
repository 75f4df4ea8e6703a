"""The molecules behind reads, and a dispersion of them that depends on the state of a cell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from zinbtools.stats.count_models import Copies
from zinbtools.stats.dispersion_by_state import PRECISIONS
from zinbtools.stats.reads_by_state import molecules_behind, reads_by_state
from zinbtools.tl._columns import Genes
from zinbtools.tl._reads_by_state import reads_tested_by_state

BEYOND, SHAPE = 14.0, 0.6


def drawn(slope: float, dropout: float = 0.0, n: int = 1500, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Reads, means of reads, states and inverse dispersions of the molecules of one gene."""
    random = np.random.default_rng(seed)
    states, mu = random.standard_normal((n, 5)), 4 * random.lognormal(0, 0.4, n)
    theta = np.exp(0.5 + slope * states[:, 0])
    molecules = random.poisson(random.gamma(theta, mu / theta)) * (random.random(n) >= dropout)
    more = random.poisson(random.gamma(SHAPE * np.maximum(molecules, 1e-9), BEYOND / SHAPE))
    reads = molecules + np.where(molecules > 0, more, 0)
    return reads.astype(np.float32), (1 + BEYOND) * mu, states, theta


def copies(n: int, shape_sd: float = 0.0) -> Copies:
    return Copies(np.full(n, 1 + BEYOND), np.full(n, SHAPE), 0.2, shape_sd)


def test_molecules_are_the_quantiles_of_the_posterior() -> None:
    counts, means = np.array([0.0, 1.0, 9.0, 40.0, 250.0]), np.array([1.0, 3.0, 0.5, 8.0, 4.0])
    theta, log_factor = np.array([1.0, 0.5, 2.0, 5.0, 1e9]), 0.3
    found = molecules_behind(counts, means, theta, copies(5), log_factor)
    beyond = BEYOND * np.exp(log_factor)
    for cell, x in enumerate(counts[1:].astype(int), 1):
        k = np.arange(1, x + 1)
        t = min(theta[cell], 1e6)
        of = stats.nbinom.logpmf(x - k, k * SHAPE, SHAPE / (SHAPE + beyond))
        weight = np.exp(of + stats.nbinom.logpmf(k, t, t / (t + means[cell])))
        below = np.cumsum(weight) / weight.sum()
        expected = [k[np.searchsorted(below, q)] for q in (0.1, 0.3, 0.5, 0.7, 0.9)]
        assert found.numbers[found.cells == cell].tolist() == pytest.approx(expected, abs=1 if x > 100 else 0)
    assert found.numbers[found.cells == 0].tolist() == [0.0]
    np.testing.assert_allclose(np.bincount(found.cells, found.weights), 1.0)


def test_a_slope_is_found_in_reads_and_none_where_there_is_none() -> None:
    x, mu, states, theta = drawn(1.5)
    given = sparse.csc_array(x[:, None]), mu[:, None], states, copies(len(x))
    found = reads_by_state(*given, "nb")
    assert np.corrcoef(np.log(found.factors), np.log(theta))[0, 1] > 0.95
    assert np.log(found.factors).std() == pytest.approx(1.5, abs=0.4)
    x, mu, states, _ = drawn(0.0)
    none = reads_by_state(sparse.csc_array(x[:, None]), mu[:, None], states, copies(len(x)), "nb")
    assert none.precision == PRECISIONS[0]
    assert np.log(none.factors).std() < 0.1


@pytest.mark.parametrize("shape_sd", [0.0, 0.5])
def test_a_dispersion_by_state_is_no_dropout_of_molecules_and_a_dropout_is(shape_sd: float) -> None:
    options = {"families": ("zinb",), "negligible_dropout": 0.01, "interval_level": 0.9}
    found = {}
    for name, slope, dropout in (("by state", 2.0, 0.0), ("dropout", 0.0, 0.3), ("both", 1.0, 0.3)):
        x, mu, states, _ = drawn(slope, dropout)
        gene = Genes(np.array([7]), sparse.csc_array(x[:, None]), mu[:, None])
        copied = copies(len(x), shape_sd)
        of_states = (np.zeros((len(x), 1)), states)
        alike, again = (reads_tested_by_state(gene, {7: of}.__getitem__, copied, options) for of in of_states)
        found[name] = float(alike[0][0]), float(again[0][0])
        if dropout:
            assert again[1].dropout[0, again[1].of("zinb")] == pytest.approx(dropout, abs=0.06)
    if not shape_sd:  # a shape of its own explains it as well
        assert found["by state"][0] > 8
    assert found["by state"][1] < 1
    assert found["dropout"][1] > 30
    assert found["dropout"][1] == pytest.approx(found["dropout"][0], rel=0.1)
    assert found["both"][1] > 2 * found["both"][0] > 20
