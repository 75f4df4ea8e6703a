"""`inference_data`: groups as arviz reads them, with the numbers that the verbs write."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from anndata import AnnData

import zinbtools as zt

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # of arviz 0.23, about its release 1.0
    arviz = pytest.importorskip("arviz")


@pytest.mark.parametrize("model", ["nb", "zinb"])
def test_likelihoods_are_those_of_the_verb(fitted: AnnData, model: str) -> None:
    """The same draws need the same seed, which the verb makes of a number once more; so within the error."""
    tree = zt.get.inference_data(fitted, model=model, n_samples=60)
    zt.tl.marginal_ll(fitted, n_samples=60)
    found, errors = tree["log_likelihood"]["counts"], tree["sample_stats"]["standard_error"]
    test = (fitted.obs["zinbtools_split"] == "test").to_numpy()
    assert (found.dims, found.shape) == (("chain", "draw", "cell"), (2, 1, 30))
    assert found["cell"].to_numpy().tolist() == fitted.obs_names[test].tolist()
    best = fitted.uns["zinbtools"]["params"]["best_restart"][model]
    off = found.to_numpy()[best, 0] - fitted.obs.loc[test, f"{model}_marginal_ll"].to_numpy()
    assert np.abs(off / (errors.to_numpy()[best, 0] + 1e-3)).mean() < 3
    assert np.abs(off).max() < 1


def test_a_seed_gives_the_same_numbers(fitted: AnnData) -> None:
    first, again, other = (
        zt.get.inference_data(fitted, n_samples=5, rng=seed).log_likelihood["counts"].to_numpy()
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_replicates_are_near_the_counts_and_the_counts_are_those_observed(fitted: AnnData) -> None:
    tree = zt.get.inference_data(fitted, split="all", n_samples=20)
    counts = fitted.X.toarray()
    observed = tree["observed_data"]
    np.testing.assert_allclose(observed["zero_fraction"], (counts == 0).mean(0))
    np.testing.assert_allclose(observed["mean_count"], counts.mean(0), rtol=1e-6)
    drawn = tree["posterior_predictive"]
    assert drawn["mean_count"].dims == ("chain", "draw", "gene")
    assert drawn["mean_count"].shape == (2, 20, 50)
    assert drawn["gene"].to_numpy().tolist() == fitted.var_names.tolist()
    expected = zt.get.expected_counts(fitted, kind="zero").mean().to_numpy()
    best = fitted.uns["zinbtools"]["params"]["best_restart"]["zinb"]
    np.testing.assert_allclose(drawn["zero_fraction"].mean("draw").to_numpy()[best], expected, atol=0.03)
    assert (drawn["zero_fraction"].std("draw") > 0).any()


def test_arviz_reads_it(fitted: AnnData) -> None:
    tree = zt.get.inference_data(fitted, n_samples=5, split="all")
    found = arviz.extract(tree, group="posterior_predictive", var_names=["mean_count"])
    assert dict(found.sizes) == {"gene": 50, "sample": 10}


def test_genes_that_were_not_fitted_are_left_out(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False, mask_var="even", key_added="run", n_draws=1)
    tree = zt.get.inference_data(counts, n_samples=3, key="run")
    assert tree["observed_data"]["gene"].to_numpy().tolist() == counts.var_names[counts.var["even"]].tolist()


def test_a_model_that_was_not_fitted_is_refused(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, models="nb", progress=False)
    with pytest.raises(ValueError, match="model must be one of nb, found 'zinb'"):
        zt.get.inference_data(counts)


def test_without_arviz_it_says_how_to_get_it(fitted: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"needs arviz: pip install 'zinbtools\[arviz\]'"):
        zt.get.inference_data(fitted)
