"""All distributions through the shared case, and against exact values."""

from __future__ import annotations

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
from count_distribution_case import MEANS, THETAS, CountDistributionCase
from scipy import special, stats

from zinbtools.model.distributions import (
    AmplifiedNegativeBinomial,
    NegativeBinomial,
    ZeroInflatedNegativeBinomial,
)

LOGIT = -1.5
COPIES, SHAPE = 4.0, 0.7


class TestNegativeBinomial(CountDistributionCase):
    def make(self, mu, theta):
        return NegativeBinomial(mu, theta)

    def reference(self, x, mu, theta):
        return stats.nbinom.logpmf(x, theta, theta / (theta + mu))

    def test_large_theta_is_scipys_poisson(self):
        x = np.arange(30)[:, None]
        ours = NegativeBinomial(MEANS, torch.tensor(1e14, dtype=torch.float64)).log_prob(torch.tensor(x))
        np.testing.assert_allclose(ours, stats.poisson.logpmf(x, MEANS.numpy()), rtol=1e-9)


class TestZeroInflatedNegativeBinomial(CountDistributionCase):
    def make(self, mu, theta):
        return ZeroInflatedNegativeBinomial(NegativeBinomial(mu, theta), torch.tensor(LOGIT, dtype=mu.dtype))

    def reference(self, x, mu, theta):
        dropout = 1 / (1 + np.exp(-LOGIT))
        base = stats.nbinom.logpmf(x, theta, theta / (theta + mu))
        return (
            np.log(dropout * (x == 0) + (1 - dropout) * np.exp(base))
            if (x == 0).all()
            else np.where(x == 0, np.log(dropout + (1 - dropout) * np.exp(base)), np.log1p(-dropout) + base)
        )

    def test_no_dropout_is_the_nb(self):
        nb = NegativeBinomial(MEANS, THETAS)
        x = torch.arange(5, dtype=torch.float64)[:, None, None]
        zinb = ZeroInflatedNegativeBinomial(nb, torch.tensor(-60.0, dtype=torch.float64))
        np.testing.assert_allclose(zinb.log_prob(x), nb.log_prob(x), rtol=1e-12)

    def test_posterior_dropout_is_bayes_rule(self):
        zinb = self.make(MEANS, THETAS)
        joint = zinb.dropout
        total = joint + (1 - joint) * zinb.base.zero_prob
        np.testing.assert_allclose(zinb.posterior_dropout, joint / total, rtol=1e-12)


def of_reads(mu, theta, copies=COPIES, shape=SHAPE):
    """Of the reads of molecules; mu is the mean of the reads."""
    copies, shape = (torch.as_tensor(x, dtype=mu.dtype) for x in (copies, shape))
    return AmplifiedNegativeBinomial(NegativeBinomial(mu / copies, theta), copies, shape)


def log_prob_of_reads(x, mu, theta, copies=COPIES, shape=SHAPE):
    """By scipy, summed over all numbers of molecules."""
    m, k = mu / copies, np.arange(1, max(x, 1) + 1)
    if x == 0:
        return stats.nbinom.logpmf(0, theta, theta / (theta + m))
    molecules = stats.nbinom.logpmf(k, theta, theta / (theta + m))
    further = stats.nbinom.logpmf(x - k, k * shape, shape / (shape + copies - 1))
    return special.logsumexp(molecules + further)


class TestAmplifiedNegativeBinomial(CountDistributionCase):
    beyond = 14_000

    def make(self, mu, theta):
        return of_reads(mu, theta)

    def reference(self, x, mu, theta):
        return np.vectorize(log_prob_of_reads)(x, mu, theta)

    def test_one_copy_is_the_nb(self):
        x = torch.tensor([0, 1, 5, 41, 700], dtype=torch.float64)[:, None, None]
        nb, reads = NegativeBinomial(MEANS[1:], THETAS), of_reads(MEANS[1:], THETAS, copies=1 + 1e-12)
        np.testing.assert_allclose(reads.log_prob(x), nb.log_prob(x), rtol=1e-9)

    def test_each_read_of_a_large_shape_adds_a_poisson_number(self):
        reads = of_reads(torch.tensor(8.0).double(), torch.tensor(2.0).double(), shape=1e12)
        x, k = np.arange(1, 60), np.arange(1, 60)[:, None]
        of_k = stats.nbinom.logpmf(k, 2, 0.5) + stats.poisson.logpmf(x - k, 3 * k)
        np.testing.assert_allclose(
            reads.log_prob(torch.tensor(x)), special.logsumexp(of_k, axis=0), rtol=1e-9
        )


def test_molecules_may_drop_out_before_they_are_copied():
    x = torch.arange(60, dtype=torch.float64)[:, None, None]
    reads = of_reads(MEANS, THETAS)
    inflated = ZeroInflatedNegativeBinomial(reads, torch.tensor(LOGIT, dtype=torch.float64))
    pi = inflated.dropout
    expected = torch.log(pi * (x == 0) + (1 - pi) * reads.log_prob(x).exp())
    np.testing.assert_allclose(inflated.log_prob(x), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(inflated.variance, (1 - pi) * (reads.variance + pi * reads.mean**2))


def exact_log_prob_of_reads(x, mu, theta, copies, shape):
    """In 50 digits, over all numbers of molecules, or those within 12 standard deviations of ``x / copies``.

    ``mu`` is the mean of the molecules.
    """
    most_likely, spread = x / copies, np.sqrt(x / copies * (1 / copies + 1 / shape))
    few = x <= 500
    first = 1 if few else max(1, int(most_likely - 12 * spread))
    last = x if few else min(x, int(most_likely + 12 * spread) + 60)
    with mpmath.workdps(50):
        mu, theta, copies, shape = map(mpmath.mpf, (mu, theta, copies, shape))

        def log_nb(x, mu, theta):
            binomial = mpmath.loggamma(x + theta) - mpmath.loggamma(theta) - mpmath.loggamma(x + 1)
            return binomial + theta * mpmath.log(theta / (theta + mu)) + x * mpmath.log(mu / (theta + mu))

        terms = (
            mpmath.exp(log_nb(k, mu, theta) + log_nb(x - k, k * (copies - 1), k * shape))
            for k in range(first, last + 1)
        )
        return float(mpmath.log(mpmath.fsum(terms)))


@pytest.mark.parametrize("x", [1, 7, 56, 57, 300])
@pytest.mark.parametrize("theta", [0.05, 3.0, 1e6])
def test_reads_against_exact_sums(x, theta):
    for mu in (1e-3, 0.4, 30.0):
        for copies, shape in ((1.01, 0.03), (8.0, 0.1), (30.0, 1.0), (300.0, 50.0)):
            exact = exact_log_prob_of_reads(x, mu, theta, copies, shape)
            reads = of_reads(*map(torch.tensor, np.array([mu * copies, theta])), copies, shape)
            assert reads.log_prob(torch.tensor(x)).item() == pytest.approx(exact, rel=1e-9, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("x", "copies", "shape"),
    [(2_000, 8.0, 0.1), (100_000, 30.0, 1.0), (1_000_000, 1.01, 1.0), (1_000_000, 1000.0, 0.1)],
)
@pytest.mark.parametrize(("times", "theta"), [(1.0, 0.3), (0.9, 30.0)])
def test_many_reads_against_exact_sums(x, copies, shape, times, theta):
    """The molecules' mean is about the most likely number of them, or less."""
    mu = times * x / copies
    exact = exact_log_prob_of_reads(x, mu, theta, copies, shape)
    reads = of_reads(*map(torch.tensor, np.array([mu * copies, theta])), copies, shape)
    assert reads.log_prob(torch.tensor(x)).item() == pytest.approx(exact, rel=1e-9)


@pytest.fixture(scope="module")
def exact(shared_data) -> pd.DataFrame:
    """1,176 log probabilities, those of the ZINB at zero computed here from those of the NB.

    The file's own ZINB values at zero are ``log(1 - pi) + log NB(0)``: they leave out the dropouts.
    """
    text = pd.read_csv(shared_data / "reference" / "count_logprob.csv", dtype=str)
    values = text.astype(float)
    with mpmath.workdps(50):
        for row in values.index[values.x == 0]:
            logit, nb = mpmath.mpf(text.dropout_logit[row]), mpmath.mpf(text.nb_log_prob[row])
            dropout = 1 / (1 + mpmath.exp(-logit))
            values.loc[row, "zinb_log_prob"] = float(mpmath.log(dropout + (1 - dropout) * mpmath.exp(nb)))
    return values


def both(exact: pd.DataFrame, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    columns = ("x", "mean", "inverse_dispersion", "dropout_logit")
    x, mean, theta, logit = (torch.tensor(exact[column].to_numpy(), dtype=dtype) for column in columns)
    nb = NegativeBinomial(mean, theta)
    zinb = ZeroInflatedNegativeBinomial(nb, logit)
    return {"nb_log_prob": nb.log_prob(x), "zinb_log_prob": zinb.log_prob(x)}


def test_double_precision_against_exact_values(exact):
    assert len(exact) == 1176
    for column, ours in both(exact, torch.float64).items():
        np.testing.assert_allclose(ours, exact[column], rtol=1e-9, atol=0)


def test_single_precision_against_exact_values(exact):
    for column, ours in both(exact, torch.float32).items():
        np.testing.assert_allclose(ours, exact[column], rtol=1e-5, atol=1e-4)
