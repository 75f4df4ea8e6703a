from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from numpy.typing import NDArray

from zinbtools.simulate import (
    Exponential,
    Inflation,
    Logistic,
    PerBatch,
    PerCell,
    PerGene,
    Uniform,
    gamma_poisson,
    knockout,
)
from zinbtools.simulate._inflation import Entries

BATCHES = ["a", "a", "b", "c"]
ENTRIES = Entries(
    count=np.array([1.0, 2, 5, 3]),
    cell=np.array([0, 1, 2, 3]),
    gene=np.array([0, 1, 1, 0]),
    gene_mean=np.array([0.5, 2.0]),
    obs=pd.DataFrame({"batch": BATCHES, "loss": [0.1, 0.2, 0.3, 0.4]}),
    var=pd.DataFrame({"loss": [0.0, 1.0]}),
)


@pytest.fixture(scope="module")
def base() -> AnnData:
    return gamma_poisson(4000, 40, means=np.geomspace(0.1, 20, 40), n_batches=2, rng=3)


def losses(adata: AnnData) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where there was a count, and where it was lost; everything else must be as it was."""
    observed, true = adata.X.toarray(), adata.layers["true_counts"].toarray()
    assert set(np.unique(observed[observed != true])) <= {0}
    return true > 0, (true > 0) & (observed == 0)


# ------------------------------------------------------------------ the rules


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Uniform(0.3), [0.3] * 4),
        (Exponential(0.5, lam=0.1), 0.5 * np.exp([-0.1, -0.4, -2.5, -0.9])),
        (Exponential(), [0.08] * 4),
        (Logistic(p=0.6, midpoint=2.0, slope=2.0), [0.6 / (1 + 1 / 16), 0.3, 0.3, 0.6 / (1 + 1 / 16)]),
        (PerGene([0.1, 0.9]), [0.1, 0.9, 0.9, 0.1]),
        (PerGene("loss"), [0, 1, 1, 0]),
        (PerCell("loss"), [0.1, 0.2, 0.3, 0.4]),
        (PerCell(np.array([0, 0, 1, 1])), [0, 0, 1, 1]),
        (PerBatch("batch", {"a": 0.2, "b": Exponential(1.0, lam=0.1)}), [0.2, 0.2, np.exp(-2.5), 0]),
    ],
    ids=repr,
)
def test_probabilities_are_those_of_the_rule(rule: Inflation, expected: Any) -> None:
    np.testing.assert_allclose(rule.probability(ENTRIES), expected, rtol=1e-12)


def test_a_rule_of_one_s_own_is_a_rule(base: AnnData) -> None:
    @dataclass(frozen=True)
    class Odd(Inflation):
        p: float

        def probability(self, entries: Entries) -> NDArray[np.float64]:
            return np.where(entries.count % 2 == 1, self.p, 0.0)

    there, lost = losses(taken := knockout(base, Odd(1.0)))
    np.testing.assert_array_equal(lost, base.X.toarray() % 2 == 1)
    assert taken.uns["inflation"] == {"rule": "Odd", "p": 1.0, "share": 1.0}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Uniform(1.1), ValueError, "p must be a number from 0 to 1, found 1.1"),
        (lambda: Exponential(-0.1), ValueError, "p must be a number from 0 to 1"),
        (lambda: Exponential(0.1, lam=-1), ValueError, "lam must be a finite number of at least 0, found -1"),
        (lambda: Logistic(p=np.nan), ValueError, "p must be a number from 0 to 1"),
        (lambda: Logistic(midpoint=0), ValueError, "midpoint must be a finite number above 0, found 0"),
        (lambda: Logistic(slope=np.inf), ValueError, "slope must be a finite number above 0, found inf"),
        (lambda: PerGene([0.1]).probability(ENTRIES), ValueError, r"per row of var, 2, found \(1,\)"),
        (lambda: PerGene([0.1, 2]).probability(ENTRIES), ValueError, "from 0 to 1, found 0.1 to 2.0"),
        (lambda: PerCell("quality").probability(ENTRIES), KeyError, "'quality' is not in adata.obs"),
        (
            lambda: PerBatch("batch", {"z": 0.1}).probability(ENTRIES),
            ValueError,
            "p names 'z'.*'a', 'b', 'c'",
        ),
        (lambda: PerBatch("sample", {}).probability(ENTRIES), KeyError, "'sample' is not in adata.obs"),
    ],
)
def test_rules_that_cannot_be_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# ------------------------------------------------------------------ the core


@pytest.mark.parametrize(
    "rule",
    [
        Uniform(0.2),
        Exponential(0.4, lam=0.05),
        Logistic(0.5, midpoint=2),
        PerGene(np.linspace(0, 0.5, 40)),
        PerCell(np.linspace(0, 0.5, 4000)),
        PerBatch("batch", {"batch_1": 0.3}),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_as_many_counts_are_lost_as_the_rule_says(base: AnnData, rule: Inflation) -> None:
    taken = knockout(base, rule, rng=1)
    there, lost = losses(taken)
    cell, gene = np.nonzero(there)
    counts = base.X.toarray()
    entries = Entries(counts[cell, gene], cell, gene, counts.mean(axis=0), base.obs, base.var)
    probability = np.zeros(there.shape)
    probability[cell, gene] = rule.probability(entries)
    # By gene, by cell block and by size of the count: a rule that looked at the wrong axis would fail one.
    blocks = [(slice(None), j) for j in range(40)] + [
        (slice(i, i + 500), slice(None)) for i in range(0, 4000, 500)
    ]
    for block in blocks:
        expected, variance = probability[block].sum(), (probability * (1 - probability))[block].sum()
        assert abs(lost[block].sum() - expected) <= 4.5 * np.sqrt(variance)
    for size in (1, 2, 5):
        of_size = counts == size
        variance = (probability * (1 - probability))[of_size].sum()
        assert abs(lost[of_size].sum() - probability[of_size].sum()) <= 4.5 * np.sqrt(variance)
    np.testing.assert_allclose(taken.var["expected_dropout"], probability.mean(axis=0), atol=1e-12)
    np.testing.assert_array_equal(taken.var["is_zero_inflated"], probability.sum(axis=0) > 0)


def test_a_smaller_probability_loses_a_subset(base: AnnData) -> None:
    (_, more), (_, less) = (losses(knockout(base, Uniform(p), share=0.5, rng=4)) for p in (0.4, 0.1))
    assert 0 < less.sum() < more.sum()
    assert (more | less == more).all()


@pytest.mark.parametrize("share", [0.0, 0.33, 0.5, 1.0])
def test_a_share_of_the_genes_is_inflated(base: AnnData, share: float) -> None:
    taken = knockout(base, Uniform(0.5), share=share)
    _, lost = losses(taken)
    assert taken.var["is_zero_inflated"].dtype == bool
    assert taken.var["is_zero_inflated"].sum() == int(share * 40)
    np.testing.assert_array_equal(lost.any(axis=0), taken.var["is_zero_inflated"])


@pytest.mark.parametrize("rule", [0.1, "Uniform", Uniform], ids=str)
def test_what_is_no_rule_is_refused(base: AnnData, rule: Any) -> None:
    with pytest.raises(TypeError, match="inflation must be a rule such as Uniform"):
        knockout(base, rule)


def test_a_rule_that_gives_no_probabilities_is_refused(base: AnnData) -> None:
    class Twice(Inflation):
        def probability(self, entries: Entries) -> NDArray[np.float64]:
            return np.full(entries.count.shape, 2.0)

    with pytest.raises(ValueError, match="must give one probability from 0 to 1 for each of"):
        knockout(base, Twice())
    with pytest.raises(ValueError, match="share must be a number from 0 to 1, found 2"):
        knockout(base, Uniform(0.1), share=2)
