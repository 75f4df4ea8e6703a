"""Agreement of two accounts of the same cells, and the test of two kinds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zinbtools.stats.agreement import adjusted_rand, compare, nearest, overlap, ward_clusters


def test_the_nearest_are_those_of_all_distances() -> None:
    points = np.random.default_rng(0).normal(size=(60, 4))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_array_equal(np.sort(nearest(points, 7)), np.sort(np.argsort(distance)[:, :7]))


def test_a_cell_is_not_its_own_neighbour_even_among_equals() -> None:
    found = nearest(np.zeros((9, 2)), 3)
    assert found.shape == (9, 3)
    assert (found != np.arange(9)[:, None]).all()


def test_overlap_is_that_of_sets() -> None:
    random = np.random.default_rng(1)
    first, second = (np.array([random.permutation(12)[:5] for _ in range(40)]) for _ in range(2))
    by_hand = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(first, second, strict=True)])
    assert overlap(first, second) == pytest.approx(by_hand)
    assert overlap(first, first[:, ::-1]) == 1


def test_the_adjusted_rand_index_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(2)
    for n_groups in (1, 2, 7):
        a, b = random.integers(n_groups, size=200), random.integers(5, size=200)
        assert adjusted_rand(a, b) == pytest.approx(metrics.adjusted_rand_score(a, b), abs=1e-12)
    assert adjusted_rand(a, a + 3) == 1


def test_clusters_that_lie_apart_are_found() -> None:
    truth = np.repeat([0, 1, 2], 20)
    points = truth[:, None] * 10 + np.random.default_rng(3).normal(size=(60, 2))
    assert adjusted_rand(ward_clusters(points, 3), truth) == 1


def agreement_of(positions: np.ndarray) -> np.ndarray:
    """Of members that lie somewhere: minus the distance, (1, n, n)."""
    return -np.linalg.norm(positions[:, None] - positions[None], axis=2)[None]


def test_kinds_that_are_alike_are_told_apart_as_often_as_the_level_says() -> None:
    random = np.random.default_rng(4)
    found = []
    for _ in range(400):
        both = np.concatenate([agreement_of(random.normal(size=(8, 3))) for _ in range(3)])
        found.append(compare(both, 4, random).pval.min())
    assert stats.binomtest(int((np.array(found) <= 0.05).sum()), 400, 0.05, "greater").pvalue > 0.001
    assert (np.array(found) <= 0.3).mean() > 0.15  # and it is not silent


@pytest.mark.parametrize("n", [4, 10])
def test_kinds_that_lie_apart_are_found_in_the_measure_in_which_they_do(n: int) -> None:
    random = np.random.default_rng(5)
    apart = random.normal(size=(2 * n, 3))
    apart[:n] += 8
    both = np.concatenate([agreement_of(apart), agreement_of(random.normal(size=(2 * n, 3)))])
    found = compare(both, n, random)
    assert found.pval[0] == pytest.approx(found.least_pval)
    assert found.pval[0] <= 0.05 < found.pval[1]
    assert (found.between[0] < found.within[0]).all()


def test_means_are_those_of_the_pairs() -> None:
    agreement = np.arange(25.0).reshape(1, 5, 5)
    agreement = agreement + agreement.transpose(0, 2, 1)
    found = compare(agreement, 2, np.random.default_rng(0))
    a = agreement[0]
    assert found.within[0].tolist() == [a[0, 1], np.mean([a[2, 3], a[2, 4], a[3, 4]])]
    assert found.between[0] == a[:2, 2:].mean()
    assert found.least_pval == pytest.approx(1 / 10)


def test_pairs_that_are_alike_for_another_reason_count_nowhere() -> None:
    """Members of both kinds come in close pairs; without these the kinds are as alike as their own."""
    random, gaps = np.random.default_rng(6), []
    for _ in range(200):
        starts = random.normal(size=(4, 3))
        agreement = agreement_of(np.concatenate([starts, starts + 0.1 * random.normal(size=(4, 3))]))
        agreement[0, np.arange(4), np.arange(4, 8)] = agreement[0, np.arange(4, 8), np.arange(4)] = np.nan
        found = compare(agreement, 4, random)
        gaps.append(found.within[0].mean() - found.between[0])
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / 200**0.5


def test_two_of_each_cannot_tell() -> None:
    found = compare(agreement_of(np.array([[0.0], [0.1], [9.0], [9.1]])), 2, np.random.default_rng(0))
    assert found.least_pval == pytest.approx(1 / 3)
    assert found.pval[0] == pytest.approx(1 / 3)
