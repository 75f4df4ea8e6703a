"""Draws have the distribution that they should have, and so have the residuals."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from zinbtools.kernels import draws as kernels
from zinbtools.model.config import FitConfig
from zinbtools.model.data import CountData
from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from zinbtools.model.layers import Streams
from zinbtools.model.predictive import Replicates, _distribution_function, _words, quantile_residuals
from zinbtools.model.vae import CountVAE, Shape
from zinbtools.stats.calibration import ResidualSums

N = 200_000
MEANS = (1e-4, 0.02, 0.7, 4.0, 29.0, 31.0, 900.0)
THETAS = (0.02, 1.0, 40.0, 1e7)
PAIRS = list(itertools.product(MEANS, THETAS))
EVERYONE = torch.arange(240)
FIELDS = ("n_zeros", "n_ones", "total", "total_of_squares", "maximum")


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def parameters(mean: float, theta: float, logit: float | None, n_genes: int) -> tuple[np.ndarray, ...]:
    """One cell, in which all genes are alike."""
    shape = (1, n_genes)
    return (
        np.full(shape, np.log(mean), dtype=np.float32),
        np.full(shape, theta),
        np.zeros((0, 0), dtype=np.float32) if logit is None else np.full(shape, logit, dtype=np.float32),
    )


def drawn(mean: float, theta: float, logit: float | None = None, n: int = N) -> np.ndarray:
    """The sums over one cell, of which the total is the count."""
    sums, rng = np.zeros((kernels.N_SUMS, n)), generator()
    kernels.add_counts(*parameters(mean, theta, logit, n), _words(rng, (1, n)), rng, sums)
    return sums


def zinb_pmf(x: np.ndarray, mean: float, theta: float, logit: float | None) -> np.ndarray:
    pi = 0.0 if logit is None else 1 / (1 + np.exp(-logit))
    return pi * (x == 0) + (1 - pi) * stats.nbinom.pmf(x, theta, theta / (theta + mean))


@pytest.mark.parametrize(("mean", "theta"), PAIRS)
@pytest.mark.parametrize("logit", [None, -0.7])
def test_draws_have_their_distribution(mean: float, theta: float, logit: float | None) -> None:
    """Chi-square over the single counts, and over groups of them where they are rare."""
    counts = drawn(mean, theta, logit)[kernels.TOTAL]
    assert (counts == counts.astype(int)).all()
    largest = int(counts.max()) + 1
    expected = N * zinb_pmf(np.arange(largest), mean, theta, logit)
    seen = np.bincount(counts.astype(int), minlength=largest)
    groups = np.minimum(np.floor(np.cumsum(expected) / 25), (expected.sum() // 25) - 1).astype(int).clip(0)
    cells = np.array([np.bincount(groups, weights=w) for w in (seen, expected)])
    cells = cells[:, cells[1] > 5]
    rest = N - cells.sum(1)
    if rest[1] > 5:
        cells = np.column_stack([cells, rest])
    chi_square = ((cells[0] - cells[1]) ** 2 / cells[1]).sum()
    assert stats.chi2.sf(chi_square, max(cells.shape[1] - 1, 1)) > 1e-4


@pytest.mark.parametrize(("mean", "theta"), PAIRS)
@pytest.mark.parametrize("logit", [None, -30.0, -0.7, 12.0])
def test_expectations_are_the_distributions(mean: float, theta: float, logit: float | None) -> None:
    """Two draws of the same entry add up: mean, dropout, P(0) and P(dropout | 0)."""
    sums = np.zeros((4, 1, 3), dtype=np.float32)
    for _ in range(2):
        kernels.add_expectations(*parameters(mean, theta, logit, 3), sums)
    pi = 0.0 if logit is None else 1 / (1 + np.exp(-logit))
    log_zero = -theta * np.log1p(mean / theta)
    zero = pi + (1 - pi) * np.exp(log_zero)
    # where dropout and an ordinary zero are both next to impossible, one may still be far likelier
    lost = 0.0 if logit is None else 1 / (1 + np.exp(np.clip(log_zero - logit, -700, 700)))
    expected = 2 * np.array([mean, pi, zero, lost])
    np.testing.assert_allclose(sums[:, 0], np.tile(expected, (3, 1)).T, rtol=2e-5, atol=1e-30)


def test_sums_are_those_of_the_counts() -> None:
    sums = drawn(2.0, 0.5)
    x = sums[kernels.TOTAL]
    assert (sums[kernels.CELLS] == 1).all()
    for row, expected in (
        (kernels.POSITIVE, x > 0),
        (kernels.ONES, x == 1),
        (kernels.SQUARES, x**2),
        (kernels.MAXIMUM, x),
    ):
        np.testing.assert_array_equal(sums[row], expected)


def test_a_rare_count_is_as_rare_as_it_should_be() -> None:
    """Counts that the leading bits of their random number do not settle."""
    counts = drawn(1e-4, 1e-3, n=4_000_000)[kernels.TOTAL]
    for least in (1, 3):
        expected = 4e6 * stats.nbinom.sf(least - 1, 1e-3, 1e-3 / (1e-3 + 1e-4))
        assert abs((counts >= least).sum() - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize(("mean", "theta"), PAIRS)
@pytest.mark.parametrize("logit", [None, 0.4])
def test_expected_sums_are_those_of_scipy(mean: float, theta: float, logit: float | None) -> None:
    sums = np.zeros((kernels.N_SUMS, 3))
    for _ in range(2):
        kernels.add_expected(*parameters(mean, theta, logit, 3), sums)
    kept = 1.0 if logit is None else 1 / (1 + np.exp(logit))
    nb = stats.nbinom(theta, theta / (theta + mean))
    expected = {
        kernels.POSITIVE: nb.sf(0),
        kernels.ONES: nb.pmf(1),
        kernels.TOTAL: mean,
        kernels.SQUARES: mean + mean**2 * (1 + 1 / theta),
    }
    for row, value in expected.items():
        # the complement of a probability near 1 keeps its absolute precision
        np.testing.assert_allclose(sums[row], 2 * kept * value, rtol=2e-5, atol=2e-7)


@pytest.fixture(params=["gene", "gene-cell", "gene-batch", "none"])
def model(request: pytest.FixtureRequest, config: FitConfig, data: CountData) -> CountVAE:
    """Weights at random, library sizes near the data's."""
    built = CountVAE("zinb", Shape(12, 2), replace(config, dispersion=request.param)).eval()
    built.reset(Streams([1]))
    built.library_mean[:] = data.log_library.mean()
    built.library_variance[:] = 0.1
    built.library_encoder.mean.bias.data[:] = data.log_library.mean()
    return built


@pytest.fixture
def batches(data: CountData) -> CountData:
    """`data` in two batches."""
    data = CountData(data.batch(EVERYONE).dense().numpy(), group=np.arange(240) % 2)
    assert data.group.unique().tolist() == [0, 1]
    return data


def test_a_draw_does_not_depend_on_the_others(model: CountVAE, batches: CountData) -> None:
    first, second = (Replicates(model, batches, EVERYONE, seed=3) for _ in range(2))
    draws = {number: first.draw(number).counts for number in (0, 1, 2)}
    for number in (2, 0):
        again = second.draw(number, expected=True).counts
        assert all(np.array_equal(getattr(again, f), getattr(draws[number], f)) for f in FIELDS)
    assert not np.array_equal(draws[0].total, draws[1].total)
    other = Replicates(model, batches, EVERYONE, seed=4).draw(0).counts
    assert not np.array_equal(other.total, draws[0].total)


def test_draws_are_on_average_what_is_expected(model: CountVAE, batches: CountData) -> None:
    """Also against torch's sampler, cell by cell."""
    replicates = Replicates(model, batches, EVERYONE, seed=1, latent="fixed")
    draws = [replicates.draw(number, expected=True) for number in range(400)]
    for field in ("n_zeros", "n_ones", "total"):
        values = np.array([getattr(draw.counts, field) for draw in draws])
        error = values.std(0, ddof=1) / 20
        assert (abs(values.mean(0) - getattr(draws[0].expected, field)) < 4.5 * error + 1e-3).all()
        assert np.array_equal(getattr(draws[0].expected, field), getattr(draws[7].expected, field))


@pytest.mark.parametrize("latent", ["posterior", "fixed", "prior"])
def test_where_latent_states_come_from(latent: str, model: CountVAE, batches: CountData) -> None:
    """Draws from the prior know nothing of the counts; fixed ones differ by their counts alone."""
    ours = Replicates(model, batches, EVERYONE, seed=2, latent=latent)
    shuffled = CountData(batches.batch(EVERYONE).dense().numpy()[::-1].copy(), group=np.arange(240) % 2)
    theirs = Replicates(model, shuffled, EVERYONE, seed=2, latent=latent)
    one, two = (r.draw(0, expected=True).expected.total for r in (ours, theirs))
    assert np.array_equal(one, two) == (latent == "prior")
    assert np.array_equal(one, ours.draw(1, expected=True).expected.total) == (latent == "fixed")


@pytest.mark.parametrize("logit", [None, -1.0])
def test_the_distribution_function_is_that_of_scipy(logit: float | None) -> None:
    x = np.array([0, 1, 2, 7, 50, 4000.0])
    mean, theta = (a.ravel()[:, None] for a in np.meshgrid(MEANS, (*THETAS, 1e-3)))
    nb = NegativeBinomial(torch.from_numpy(mean), torch.from_numpy(theta))
    pi = 0.0 if logit is None else 1 / (1 + np.exp(-logit))
    counts = nb if logit is None else ZeroInflatedNegativeBinomial(nb, torch.tensor(logit).double())
    grid = torch.from_numpy(x).expand(len(mean), -1)
    expected = pi + (1 - pi) * stats.nbinom.cdf(x, theta, theta / (theta + mean))
    np.testing.assert_allclose(_distribution_function(counts, grid).numpy(), expected, rtol=1e-6, atol=1e-9)


def test_residuals_lie_where_the_count_does(model: CountVAE, batches: CountData) -> None:
    """Given the same latent states: between F(x - 1) and F(x), which the counts' order shows."""
    blocks = list(quantile_residuals(model, batches, EVERYONE, seed=5))
    residuals, x = np.concatenate(blocks), batches.batch(EVERYONE).dense().numpy()
    assert residuals.shape == x.shape
    assert residuals.dtype == np.float64
    assert ((residuals >= 0) & (residuals <= 1)).all()
    again = np.concatenate(list(quantile_residuals(model, batches, EVERYONE, seed=5)))
    np.testing.assert_array_equal(residuals, again)


@pytest.mark.slow
def test_residuals_of_a_true_model_are_uniform(model: CountVAE, batches: CountData) -> None:
    """200 sets of counts made, by torch's sampler, from the very states that the residuals are taken given.

    The encoders' answer is the same for all cells, so that the state does not depend on the counts made
    from it.
    """
    for encoder in (model.encoder, model.library_encoder):
        for head in (encoder.mean, encoder.log_variance):
            head.weight.data[:] = 0
    p_values, scores = [], []
    for seed in range(200):
        states = Replicates(model, batches, EVERYONE, seed=seed, latent="fixed")
        log_mean, theta, logit = (
            np.concatenate(
                [np.broadcast_to(arrays[i], arrays[0].shape) for arrays, _ in states._parameters(0)]
            )
            for i in range(3)
        )
        nb = NegativeBinomial(torch.from_numpy(log_mean).exp().double(), torch.from_numpy(theta))
        zinb = ZeroInflatedNegativeBinomial(nb, torch.from_numpy(logit).double())
        counts = zinb.sample(torch.Generator().manual_seed(seed)).numpy()
        counts[counts.sum(1) == 0, 0] = 1  # a cell must have a count
        data = CountData(counts, group=np.arange(240) % 2)
        residuals = np.concatenate(list(quantile_residuals(model, data, EVERYONE, seed=seed)))
        found = ResidualSums.from_residuals(residuals).test()
        p_values.append(found.p_value)
        scores.append(found.location)
    p = np.ravel(p_values)
    assert p.shape == (2400,)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert abs((p < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / p.size)
    assert stats.kstest(np.ravel(scores), "norm").pvalue > 1e-3
