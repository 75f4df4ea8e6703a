"""Both distributions through the shared case, and against the exact reference values."""

from __future__ import annotations

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
from count_distribution_case import MEANS, THETAS, CountDistributionCase
from scipy import stats

from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial

LOGIT = -1.5


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
