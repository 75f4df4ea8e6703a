"""Whether a column tells the zeros of a gene, and which groups explain what all cells show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from zinbtools._anndata.unknown import FEWEST_CELLS, unknown_columns
from zinbtools.stats.count_models import fit_counts
from zinbtools.stats.groups import within_regions
from zinbtools.stats.told_by import best_column, told_by


def genes(seed: int = 0, n: int = 1000) -> tuple[sparse.csc_array, np.ndarray, np.ndarray]:
    """On in one half of the cells; with 30 % dropout; neither. And the half of each cell."""
    random = np.random.default_rng(seed)
    half, mu = np.arange(n) % 2, 5 * random.lognormal(0, 0.3, (n, 3))
    on = np.stack([half, random.random(n) >= 0.3, np.ones(n)], axis=1)
    counts = random.poisson(random.gamma(2.0, mu / 2.0)) * on
    return sparse.csc_array(counts.astype(np.float64)), mu, half


def test_the_column_that_tells_is_named_and_no_other() -> None:
    counts, mu, half = genes()
    other = np.random.default_rng(5).integers(0, 4, len(half))
    without = fit_counts(counts, mu, families=("zinb",), negligible_dropout=0.01)
    options = {"without": without, "negligible_dropout": 0.01}
    found = {
        name: told_by(counts, mu, levels, **options) for name, levels in (("half", half), ("other", other))
    }
    columns, on_in = best_column(found, 0.05)
    assert columns.tolist() == ["half", "", ""]
    assert on_in.tolist() == [1, -1, -1]
    assert found["half"].pval_dropout[1] < 1e-6  # the dropout stays
    assert found["other"].pval.min() > 0.001


def test_columns_that_are_known_or_say_nothing_are_left_out() -> None:
    n, random = 400, np.random.default_rng(0)
    totals = random.lognormal(5, 0.5, n)
    obs = pd.DataFrame(
        {
            "sex": np.where(np.arange(n) % 2, "f", "m"),
            "batch": pd.Categorical(np.arange(n) // 200),
            "barcode": [f"cell{k}" for k in range(n)],
            "n_counts": totals * random.lognormal(0, 0.1, n),
            "age": random.uniform(0, 90, n),
            "stage": np.arange(n) % 3,
            "one": "same",
            "some": [None] * 100 + ["a"] * 290 + ["b"] * 10,
            "mito": np.where(np.arange(n) < 50, np.nan, random.random(n)),
        },
        index=[str(k) for k in range(n)],
    )
    found = {column.name: column for column in unknown_columns(obs, {"batch"}, totals)}
    assert set(found) == {"sex", "age", "stage", "mito"}  # "b" is too rare, "barcode" and "one" tell nothing
    assert [len(found[name].names) for name in ("sex", "age", "stage", "mito")] == [2, 8, 3, 9]
    assert "missing" in found["mito"].names
    assert found["sex"].names[found["sex"].levels[1]] == "f"
    for column in found.values():
        assert np.bincount(column.levels).min() >= FEWEST_CELLS


@pytest.mark.parametrize(
    ("difference", "se", "inside"), [(0.1, 0.05, True), (0.1, 1.0, False), (0.9, 0.05, False)]
)
def test_groups_explain_only_if_together_they_are_clearly_inside(
    difference: float, se: float, inside: bool
) -> None:
    ones = np.ones(4)
    assert within_regions(100 * ones, difference * ones, se * ones, 0.5 * ones, 0.05) is inside
