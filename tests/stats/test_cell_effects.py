"""Effects of cells on dropout and dispersion: known truth, none where there is none, one gene left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from zinbtools.stats.cell_effects import CellEffects, cell_effects

N, G = 1500, 120


def counts(log_odds: np.ndarray, log_theta: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts with a dropout of about a tenth and an inverse dispersion of about 2, and their means."""
    random = np.random.default_rng(seed)
    mu = np.exp(random.uniform(np.log(0.5), np.log(20), G)) * random.lognormal(0, 0.3, (N, 1))
    theta = np.exp(log_theta)[:, None] * np.full(G, 2.0)
    kept = random.random((N, G)) >= special.expit(special.logit(0.1) + log_odds)[:, None]
    return random.poisson(random.gamma(theta, mu / theta)) * kept, mu


def correlation(found: CellEffects, true: np.ndarray) -> float:
    return float(np.corrcoef(found.values, true)[0, 1])


def found(x: np.ndarray, mu: np.ndarray) -> tuple[CellEffects, CellEffects]:
    n = x.shape[1]
    x, mu = (of.astype(np.float32) for of in (x, mu))  # which they give up
    return cell_effects(x, mu, np.full(n, 2.0), np.full(n, 0.1))


def test_effects_on_the_odds_of_a_dropout_are_found_and_are_no_dispersion() -> None:
    true = np.where(np.arange(N) % 5 == 0, 1.5, -1.0)
    on_dropout, on_dispersion = found(*counts(true, np.zeros(N)))
    assert correlation(on_dropout, true) > 0.75
    assert on_dropout.values.mean() == pytest.approx(0, abs=1e-9)
    of_lossy, of_others = on_dropout.values[true > 0].mean(), on_dropout.values[true < 0].mean()
    assert of_lossy - of_others == pytest.approx(2.5, abs=0.8)
    assert on_dispersion.values.std() < 0.15


def test_effects_on_the_dispersion_are_found() -> None:
    true = np.random.default_rng(1).normal(0, 0.9, N)
    _, on_dispersion = found(*counts(np.full(N, -30.0), true))
    assert correlation(on_dispersion, true) > 0.9
    assert on_dispersion.values.std() == pytest.approx(0.9, abs=0.15)


def test_where_there_is_none_little_is_found() -> None:
    for effects in found(*counts(np.zeros(N), np.zeros(N))):
        assert effects.values.std() < 0.25


def test_a_gene_is_left_out_as_if_it_had_not_been_there() -> None:
    x, mu = counts(np.random.default_rng(1).normal(0, 0.9, N), np.zeros(N))
    of_all, again = found(x, mu)[0], found(x[:, 1:], mu[:, 1:])[0]
    without, with_it = (of - again.values for of in (of_all.without(0), of_all.values))
    assert without.std() < 0.5 * with_it.std()
    zero = x[:, 0] == 0  # what the gene itself said is gone
    assert abs(without[zero].mean()) < 0.2 * abs(with_it[zero].mean())
    np.testing.assert_array_equal(of_all.without(None), of_all.values)
