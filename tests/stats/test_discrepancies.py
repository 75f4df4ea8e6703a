from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import sparse, stats

from zinbtools.stats.discrepancies import CHECKS, Check, GeneStatistics, ks_distance, zeros_by_mean

FIELDS = ("n_zeros", "n_ones", "total", "total_of_squares", "maximum")
COUNTS = hnp.arrays(
    np.int64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
    elements=st.integers(0, 5) | st.integers(0, 100_000),
)
ARRAY_TYPES: dict[str, Callable[[Any], Any]] = {
    "int64": np.asarray,
    "float32": lambda x: np.asarray(x, dtype=np.float32),
    "uint16": lambda x: np.asarray(x, dtype=np.uint16),
    "csr float32": lambda x: sparse.csr_matrix(x, dtype=np.float32),
    "csr int32": lambda x: sparse.csr_array(x, dtype=np.int32),
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_array,
}
# Squares beyond float32 and uint16, an empty gene, a gene without a zero, a constant one.
EXAMPLE = np.array([[0, 5001, 0, 7], [60_001, 1, 0, 7], [3, 2, 0, 7], [0, 9, 0, 7], [1, 1, 0, 7]])


def assert_same(one: GeneStatistics, other: GeneStatistics) -> None:
    assert one.n_cells == other.n_cells
    for field in FIELDS:
        assert getattr(one, field).dtype == np.float64
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("array_type", ARRAY_TYPES.values(), ids=ARRAY_TYPES)
def test_every_array_type_gives_the_exact_sums(array_type: Callable[[Any], Any]) -> None:
    expected = GeneStatistics(
        n_cells=5,
        n_zeros=np.array([2.0, 0, 5, 0]),
        n_ones=np.array([1.0, 2, 0, 0]),
        total=EXAMPLE.sum(0).astype(float),
        total_of_squares=(EXAMPLE**2).sum(0).astype(float),
        maximum=np.array([60_001.0, 5001, 0, 7]),
    )
    assert_same(GeneStatistics.from_counts(array_type(EXAMPLE)), expected)


def test_stored_zeros_and_split_entries_do_not_count_as_expressed() -> None:
    stored = sparse.csr_matrix((np.array([2.0, 3, 0, 4]), [0, 0, 1, 1], [0, 3, 4]), shape=(2, 3))
    before = stored.data.copy()
    assert_same(
        GeneStatistics.from_counts(stored), GeneStatistics.from_counts(np.array([[5, 0, 0], [0, 4, 0]]))
    )
    np.testing.assert_array_equal(stored.data, before)


@given(COUNTS, st.integers(0, 8))
def test_blocks_of_cells_add_up(counts: NDArray[np.int64], cut: int) -> None:
    parts = GeneStatistics.from_counts(counts[:cut]) + GeneStatistics.from_counts(counts[cut:])
    assert_same(parts, GeneStatistics.from_counts(counts))


@given(COUNTS)
def test_checks_are_those_of_the_study(counts: NDArray[np.int64]) -> None:
    genes = GeneStatistics.from_counts(counts)
    with np.errstate(invalid="ignore"):
        # scipy's own ratio and numpy's masked mean as the second opinion.
        variation = stats.variation(counts.astype(float), axis=0)
        nonzero_mean = np.ma.masked_equal(counts, 0).mean(axis=0).filled(np.nan)
    np.testing.assert_allclose(CHECKS["dropout_ratio"](genes), (counts == 0).mean(0), rtol=1e-14)
    np.testing.assert_allclose(
        CHECKS["zeros_to_expression"](genes), (counts == 0).sum(0) / nonzero_mean, rtol=1e-12
    )
    np.testing.assert_allclose(CHECKS["cv"](genes), variation, rtol=1e-7, atol=1e-7)


def test_checks_on_genes_at_the_edge() -> None:
    genes = GeneStatistics.from_counts(EXAMPLE)
    empty, constant = 2, 3
    assert CHECKS["dropout_ratio"](genes)[empty] == 1
    assert np.isnan(CHECKS["zeros_to_expression"](genes)[empty])
    assert np.isnan(CHECKS["cv"](genes)[empty])
    assert CHECKS["zeros_to_expression"](genes)[constant] == 0
    assert CHECKS["cv"](genes)[constant] == 0


def test_checks_without_a_cell_are_undefined() -> None:
    nothing = GeneStatistics.from_counts(np.empty((0, 3)))
    for check in CHECKS.values():
        assert np.isnan(check(nothing)).all()


@given(COUNTS)
def test_the_other_checks_are_those_of_numpy(counts: NDArray[np.int64]) -> None:
    genes = GeneStatistics.from_counts(counts)
    np.testing.assert_allclose(CHECKS["mean"](genes), counts.mean(0), rtol=1e-14)
    np.testing.assert_allclose(CHECKS["variance"](genes), counts.var(0), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(CHECKS["maximum"](genes), counts.max(0))
    np.testing.assert_allclose(CHECKS["one_ratio"](genes), (counts == 1).mean(0), rtol=1e-14)


def test_zeros_by_mean_average_over_genes_of_similar_mean() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1, 1, 103), (50, 103))
    genes = GeneStatistics.from_counts(counts)
    found = zeros_by_mean(genes, n_bins=10)
    order = np.argsort(counts.mean(0), kind="stable")
    zeros = (counts == 0).mean(0)[order]
    sizes = [11, 11, 11, *[10] * 7]  # as equal as they can be
    for start, size in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True):
        np.testing.assert_allclose(found[order][start : start + size], zeros[start : start + size].mean())


def test_linear_checks_are_linear_in_the_sums() -> None:
    """So that the check of expected sums is the expected check."""
    rng = np.random.default_rng(1)
    first, second = (GeneStatistics.from_counts(rng.poisson(2, (9, 5))) for _ in range(2))
    values = {field: (getattr(first, field) + getattr(second, field)) / 2 for field in FIELDS}
    middle = GeneStatistics(n_cells=9, **values)
    linear = [check for check in CHECKS.values() if check.linear]
    assert {check.name for check in linear} == {"dropout_ratio", "mean", "one_ratio"}
    for check in linear:
        np.testing.assert_allclose(check(middle), (check(first) + check(second)) / 2, rtol=1e-14)


def test_every_check_is_registered_under_its_name() -> None:
    assert list(CHECKS)[:3] == ["dropout_ratio", "zeros_to_expression", "cv"]
    assert [check.name for check in CHECKS.values()] == list(CHECKS)
    assert all(check.label and check.short and check.reading and check.reference for check in CHECKS.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "name must be letters, digits and underscores, found 'a/b'"),
        ({"name": "a", "direction": "up"}, "direction must be 'both', 'high' or 'low', found 'up'"),
    ],
)
def test_checks_refuse_what_results_cannot_hold(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Check(function=lambda genes: genes.mean, label="a", **arguments)


def test_statistics_refuse_what_they_cannot_sum() -> None:
    with pytest.raises(ValueError, match=r"counts must have shape \(n_cells, n_genes\), found shape \(3,\)"):
        GeneStatistics.from_counts(np.ones(3))
    with pytest.raises(ValueError, match="other must cover the same genes, found 3 instead of 2"):
        GeneStatistics.from_counts(np.ones((1, 2))) + GeneStatistics.from_counts(np.ones((1, 3)))


VALUES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-4, 4).map(float))


@given(VALUES, st.randoms(use_true_random=False))
def test_ks_forgets_which_gene_is_which(values: NDArray[np.float64], random: Any) -> None:
    order = list(range(values.size))
    random.shuffle(order)
    assert ks_distance(values, values[order]) == 0


@given(VALUES, st.integers(0, 2**32 - 1))
@example(np.zeros(1), 0)
@example(np.array([0.0, 0, 0, 1, -2]), 0)
def test_ks_is_the_largest_gap_of_the_distribution_functions(values: NDArray[np.float64], seed: int) -> None:
    other = np.random.default_rng(seed).integers(-4, 5, values.size).astype(float)
    at = np.arange(-4, 5)[:, None]
    gap = np.abs((values <= at).mean(1) - (other <= at).mean(1)).max()
    distance = ks_distance(values, other)
    with np.errstate(divide="ignore"):  # scipy's p-value of a single gene
        expected = stats.ks_2samp(values, other, method="asymp").statistic
    assert distance == pytest.approx(expected, abs=1e-12)
    assert distance == pytest.approx(gap, abs=1e-12)
    assert distance * values.size == pytest.approx(round(distance * values.size), abs=1e-9)
    assert ks_distance(other, values) == pytest.approx(distance, abs=1e-12)


def test_ks_leaves_out_genes_where_either_side_is_undefined() -> None:
    # Each of the three genes left out would change the distance of the other four, 1/4.
    observed = [1.0, 2, 3, 4, np.nan, 9, 9]
    predicted = [1.0, 2, 3, 5, 0, np.nan, np.inf]
    assert ks_distance(observed, predicted) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("observed", "predicted", "message"),
    [
        ([np.nan, 1], [1, np.nan], "no gene among 2 where both are finite"),
        ([], [], "no gene among 0 where both are finite"),
        ([1, 2], [1, 2, 3], r"shape \(n_genes,\), found \(2,\) and \(3,\)"),
    ],
)
def test_ks_refuses_what_it_cannot_compare(
    observed: list[float], predicted: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ks_distance(observed, predicted)
