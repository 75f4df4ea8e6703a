"""`zi_scores` by comparing the two networks: sign, size, standard error and where they are written."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from anndata import AnnData
from compare import assert_same_anndata
from scipy import stats
from torch.distributions import Normal

import zinbtools as zt
from zinbtools.get._fitted import Fitted
from zinbtools.model.gene_predictive import gene_predictive
from zinbtools.model.layers import Streams

score = partial(zt.tl.zi_scores, method="reconstruction")


def test_columns(fitted: AnnData) -> None:
    score(fitted)
    for name in ("zi_score", "zi_score_se"):
        assert fitted.var[name].dtype == np.float64
        assert np.isfinite(fitted.var[name]).all()
    assert (fitted.var["zi_score_se"] > 0).all()


def test_scores_are_near_those_of_the_layers(fitted: AnnData) -> None:
    """By hand, with the layers as parameters: averaged over draws before the logarithm rather than after."""
    cells = (fitted.obs["zinbtools_split"] == "test").to_numpy()
    X = fitted.X.toarray()[cells].astype(np.float64)
    score(fitted, n_samples=50)
    mean, theta = fitted.layers["nb_mean"][cells], fitted.var["nb_inverse_dispersion"].to_numpy()
    nb = stats.nbinom.logpmf(X, theta, theta / (theta + mean))
    pi, mean = fitted.layers["zinb_dropout"][cells], fitted.layers["zinb_mean"][cells]
    theta = fitted.var["zinb_inverse_dispersion"].to_numpy()
    zinb = (1 - pi) * stats.nbinom.pmf(X, theta, theta / (theta + mean)) + pi * (X == 0)
    by_hand = (np.log(zinb) - nb).mean(axis=0)
    assert np.corrcoef(by_hand, fitted.var["zi_score"])[0, 1] > 0.9


def test_the_standard_error_is_that_over_cells(fitted: AnnData) -> None:
    """Ten times the cells make it smaller by the square root of ten."""
    score(fitted, n_samples=50, split="all")
    whole = fitted.var["zi_score_se"].copy()
    score(fitted, n_samples=50, split="test")
    assert np.median(fitted.var["zi_score_se"] / whole) == pytest.approx(np.sqrt(10), rel=0.4)


def test_masked_genes_get_nan(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False, mask_var="even", key_added="run")
    score(counts, n_samples=1, key="run")
    np.testing.assert_array_equal(counts.var["run_zi_score"].notna(), counts.var["even"])
    np.testing.assert_array_equal(counts.var["run_zi_score_se"].notna(), counts.var["even"])


def test_seeds_and_copies(fitted: AnnData) -> None:
    before = fitted.copy()
    first, second = (score(fitted, n_samples=2, rng=seed, copy=True) for seed in (1, 2))
    assert_same_anndata(fitted, before)
    score(fitted, n_samples=2, rng=1)
    assert_same_anndata(fitted, first)
    assert (first.var["zi_score"] != second.var["zi_score"]).all()


def test_positive_on_zero_inflated_data() -> None:
    adata = zt.simulate.zisynth(lam=0, p=0.3, n_obs=600)
    zt.tl.fit_nb_zinb(adata, max_epochs=25, progress=False)
    score(adata, n_samples=10, split="all")
    assert (adata.var["zi_score"] > 0).mean() > 0.8
    assert adata.var["zi_score"].mean() > 5 * np.sqrt((adata.var["zi_score_se"] ** 2).mean() / 50)


def test_threads_are_given_back(fitted: AnnData) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        score(fitted, n_samples=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "magic"}, "method must be one of 'conditional', .* found 'magic'"),
        ({"alpha": 1.5}, "alpha must be a number between 0 and 1, both excluded, found 1.5"),
        (
            {"smallest_dropout": 0},
            "smallest_dropout must be a number between 0 and 1, both excluded, found 0",
        ),
        ({"negligible_dropout": 0.1}, r"must be below smallest_dropout \(0.1\), found 0.1"),
        ({"negligible_dropout": -0.1}, "negligible_dropout must be a number from 0 to below 1, found -0.1"),
        ({"n_samples": 0}, "n_samples must be a whole number of at least 1.*found 0"),
        ({"method": "conditional", "n_samples": 5}, "n_samples goes with 'predictive' and 'reconstruction'"),
        ({"split": "holdout"}, "split must be one of .* found 'holdout'"),
    ],
)
def test_what_is_refused(fitted: AnnData, arguments: dict[str, object], words: str) -> None:
    before = fitted.copy()
    with pytest.raises(ValueError, match=words):
        zt.tl.zi_scores(fitted, **{"method": "reconstruction", **arguments})
    assert_same_anndata(fitted, before)


def test_both_models_are_needed(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, models="zinb", progress=False)
    with pytest.raises(ValueError, match="only 'zinb' was fitted; fit both"):
        score(counts)


def test_another_method_leaves_no_calls_behind(fitted: AnnData) -> None:
    zt.tl.zi_scores(fitted)
    assert {"zi_pval", "zi_call"} <= set(fitted.var)
    score(fitted)
    assert not {"zi_pval", "zi_call", "zi_power", "zi_dropout"} & set(fitted.var)


def test_the_predictive_score_is_that_of_brute_force(fitted: AnnData) -> None:
    """A gene's count given the others, by importance sampling of its cell with the gene and without it."""
    model, cells = zt.get.model(fitted, "nb"), torch.arange(3)
    data = Fitted.read(fitted).data(fitted, torch.device("cpu"))
    found = next(gene_predictive(model, data, cells, n_samples=50, seed=1))
    precise, batch = model.double(), data.batch(cells, torch.float64)
    streams, posterior = Streams([1], data.device), precise.encode(batch)
    log_p, log_w = [], []
    mean, variance = precise.library_prior(batch)
    with torch.no_grad():
        for _ in range(50):
            z, library = precise.draw(posterior, batch, streams)
            log_p.append(precise.decode(z, library, batch).distribution().log_prob(batch.dense())[0])
            q = posterior.library
            ratio = Normal(mean[:, None], variance[:, None].sqrt()).log_prob(library[0])
            ratio = ratio - Normal(q.mean[0], q.variance[0].sqrt()).log_prob(library[0])
            of_z = Normal(0.0, 1.0).log_prob(z[0])
            of_z = of_z - Normal(posterior.z.mean[0], posterior.z.variance[0].sqrt()).log_prob(z[0])
            log_w.append(ratio.sum(1) + of_z.sum(1))
    p, w = torch.stack(log_p), torch.stack(log_w)
    for g in (0, 7):
        others = p.sum(-1) - p[..., g] + w
        by_hand = (p.sum(-1) + w).logsumexp(0) - others.logsumexp(0)
        np.testing.assert_allclose(found[:, g], by_hand.numpy(), rtol=1e-8)


def test_the_predictive_score_is_positive_on_zero_inflated_data() -> None:
    adata = zt.simulate.zisynth(lam=0, p=0.3, n_obs=600)
    zt.tl.fit_nb_zinb(adata, max_epochs=25, progress=False)
    zt.tl.zi_scores(adata, method="predictive", n_samples=20, split="all")
    assert (adata.var["zi_score"] > 0).mean() > 0.8
