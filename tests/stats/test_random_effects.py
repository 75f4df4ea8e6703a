"""Random-effects models against published worked examples, to the digits that were printed."""

from __future__ import annotations

import numpy as np
import pytest

from zinbtools.stats.random_effects import random_effects

# Trials of the BCG vaccine (Colditz et al. 1994): cases and others, vaccinated and not, and the latitude.
BCG = np.array(
    [
        [4, 119, 11, 128, 44],
        [6, 300, 29, 274, 55],
        [3, 228, 11, 209, 42],
        [62, 13536, 248, 12619, 52],
        [33, 5036, 47, 5761, 13],
        [180, 1361, 372, 1079, 44],
        [8, 2537, 10, 619, 19],
        [505, 87886, 499, 87892, 13],
        [29, 7470, 45, 7232, 27],
        [17, 1699, 65, 1600, 42],
        [186, 50448, 141, 27197, 18],
        [5, 2493, 3, 2338, 33],
        [27, 16886, 29, 17825, 33],
    ],
    dtype=float,
)


def log_risk_ratio():
    a, b, c, d, latitude = BCG.T
    effect = np.log(a / (a + b)) - np.log(c / (c + d))
    return effect, np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)), latitude


def rounded(values, digits=4):
    return np.round(values, digits).tolist()


def test_trials_of_a_vaccine():
    """Viechtbauer (2010), section 4, and what his metafor prints with ``test="knha"`` and of ``confint``."""
    effect, se, latitude = log_risk_ratio()
    found = random_effects(effect, se)
    assert rounded(found.coefficients) == [-0.7145]
    assert rounded(np.sqrt(found.covariance)) == [[0.1798]]
    assert rounded(found.se) == [0.1808]
    assert rounded(np.ravel(found.interval())) == [-1.1084, -0.3206]
    assert rounded([found.tau2, found.tau2_low, found.tau2_high]) == [0.3132, 0.1197, 1.1115]
    assert rounded(100 * found.i2, 2) == 92.22
    assert rounded(found.q) == 152.2330
    by = random_effects(effect, se, np.column_stack([np.ones(13), latitude]))
    assert rounded(by.coefficients) == [0.2515, -0.0291]
    assert rounded(np.sqrt(np.diag(by.covariance))) == [0.2491, 0.0072]
    assert rounded(100 * by.i2, 2) == 68.39
    assert rounded(by.q) == 30.7331
    assert by.tau2 == pytest.approx(0.0764, abs=1e-4)  # theirs stops when a step is shorter than 1e-5


def test_expectations_of_teachers():
    """Raudenbush (1984), as Viechtbauer's metafor prints it: 19 experiments and the weeks before them."""
    effect = [0.03, 0.12, -0.14, 1.18, 0.26, -0.06, -0.02, -0.32, 0.27, 0.80, 0.54, 0.18, -0.02, 0.23, -0.18]
    effect += [-0.06, 0.30, 0.07, -0.07]
    variance = [0.0156, 0.0216, 0.0279, 0.1391, 0.1362, 0.0106, 0.0106, 0.0484, 0.0269, 0.0630, 0.0912]
    variance += [0.0497, 0.0835, 0.0841, 0.0253, 0.0279, 0.0193, 0.0088, 0.0303]
    weeks = [2, 3, 3, 0, 0, 3, 3, 3, 0, 1, 0, 0, 1, 2, 3, 3, 1, 2, 3]
    found = random_effects(effect, np.sqrt(variance))
    assert rounded(found.coefficients) == [0.0837]
    assert rounded(np.sqrt(found.covariance)) == [[0.0516]]
    assert rounded(found.tau2) == 0.0188
    assert rounded(100 * found.i2, 1) == 41.8
    assert rounded(found.q, 2) == 35.83
    by = random_effects(effect, np.sqrt(variance), np.column_stack([np.ones(19), weeks]))
    assert by.tau2 == 0
    assert rounded(by.coefficients) == [0.4072, -0.1572]


def test_third_wave_therapies():
    """Harrer et al. (2021), section 4.2.1: 18 trials, REML and Hartung-Knapp."""
    effect = [0.7091362, 0.3548641, 1.79117, 0.1824552, 0.4218509, 0.63, 0.7248838, 0.5286638, 0.284]
    effect += [1.2750682, 0.1036082, 0.3883906, 0.5407398, 0.4261593, 0.5153969, 1.479726, 0.6125782, 0.6]
    se = [0.2608202, 0.1963624, 0.3455692, 0.1177874, 0.1448128, 0.196, 0.2246641, 0.2104609, 0.168]
    se += [0.3371997, 0.1947275, 0.2307689, 0.2443133, 0.2579379, 0.3512737, 0.3152817, 0.2266834, 0.249]
    found = random_effects(effect, se)
    assert rounded(found.coefficients) == [0.5771]
    assert rounded(np.ravel(found.interval())) == [0.3782, 0.7760]
    assert rounded(found.coefficients / found.se, 2) == [6.12]
    assert rounded([found.tau2, found.tau2_low]) == [0.0820, 0.0295]
    assert rounded(found.tau2_high) == 0.3533
    assert rounded([found.q, found.q_pval], 2) == [45.50, 0.0]


def test_few_studies_predict_nothing():
    found = random_effects([0.1, 0.2, 0.4, 0.3], [0.1, 0.1, 0.1, 0.1])
    assert np.isnan(found.prediction()).all()


def test_intervals_cover():
    """Of mean and next effect, over families of 5 to 20 studies; the exact share is in docs/meta.md."""
    random = np.random.default_rng(7)
    covered = []
    for _ in range(150):
        k, tau = random.integers(5, 21), random.choice([0.1, 0.3, 0.9])
        se = random.lognormal(np.log(0.3), 0.5, k)
        found = random_effects(0.5 + random.normal(0, tau, k) + se * random.normal(size=k), se)
        (low,), (high,) = found.interval()
        next_low, next_high = found.prediction()
        covered.append([low < 0.5 < high, next_low < 0.5 + random.normal(0, tau) < next_high])
    assert (np.mean(covered, axis=0) > 0.89).all()  # 95 % less three errors of 150 families


def test_effects_that_agree_have_no_variance():
    found = random_effects(np.full(8, 0.4), np.full(8, 0.1))
    assert found.tau2 == found.i2 == found.tau2_low == 0
    low, high = found.prediction()
    assert low <= 0.4 <= high


@pytest.mark.parametrize(
    ("effect", "se", "X", "message"),
    [
        ([0.1, 0.2], [0.1], None, "2 effects, 1 standard errors"),
        ([0.1, np.nan, 0.2], [0.1, 0.1, 0.1], None, "some are missing"),
        ([0.1, 0.2, 0.3], [0.1, 0.0, 0.1], None, "must be positive"),
        ([0.1], [0.1], None, "too few"),
        ([0.1, 0.2, 0.3], [0.1, 0.1, 0.1], [[1, 2], [1, 2], [1, 2]], "cannot be told apart"),
    ],
)
def test_what_cannot_be_fitted(effect, se, X, message):
    with pytest.raises(ValueError, match=message):
        random_effects(effect, se, X)
