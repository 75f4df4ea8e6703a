"""Shapes of copies that differ between genes: their spread is found, and they are no dropout."""

from __future__ import annotations

import numpy as np
import pytest

from zinbtools.stats.count_models import Copies
from zinbtools.stats.own_shapes import COMMON, GRID, chosen, fit_by_shape, highest, spread_of_shapes

N_CELLS, N_GENES = 400, 60


@pytest.fixture(scope="module", params=[0.0, 0.9])
def reads(request: pytest.FixtureRequest) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Spread of the log shapes of genes without any dropout, reads, means of them, and the log shapes."""
    random, spread = np.random.default_rng(5), float(request.param)
    shapes = spread * random.standard_normal(N_GENES)
    mean = np.exp(random.uniform(0, 1.5, N_GENES)) * np.ones((N_CELLS, 1))
    molecules = random.poisson(random.gamma(2.0, mean / 2.0))
    size = 0.5 * np.exp(shapes) * np.maximum(molecules, 1e-9)
    more = random.poisson(random.gamma(size, 14 / (0.5 * np.exp(shapes))))
    return spread, molecules + np.where(molecules > 0, more, 0), 15 * mean, shapes


def test_differences_between_shapes_are_no_dropout(
    reads: tuple[float, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    spread, counts, means, shapes = reads
    copies = Copies(np.full(N_CELLS, 15.0), np.full(N_CELLS, 0.5), gene_sd=0.2, shape_sd=np.inf)
    fits = fit_by_shape(counts, means, copies, families=("zinb",), negligible_dropout=0.01)
    z = fits[0].of("zinb")
    null = np.stack([of.null_log_likelihood for of in fits])
    zinb = np.fmax(np.stack([of.log_likelihood[:, z] for of in fits]), null)
    found = spread_of_shapes(zinb)
    ratios = 2 * (zinb - null)[COMMON], 2 * (highest(zinb, found) - highest(null, found))
    refused = [float((ratio > 2.7).mean()) for ratio in ratios]  # of genes, 5 % if it is half a chi-squared
    assert refused[1] < 0.12
    if spread:
        assert found == pytest.approx(spread, abs=0.35)
        assert refused[0] > 0.2
        assert np.corrcoef(GRID[chosen(zinb, found)], shapes)[0, 1] > 0.7
    else:
        assert found < 0.2
        assert refused[0] < 0.12
