"""Models rebuilt from an AnnData, and what they say of any block of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from compare import assert_same_anndata

import zinbtools as zt
from zinbtools.model.data import CountData

LAYERS = [("nb", "mean"), ("zinb", "mean"), ("zinb", "dropout")]


@pytest.mark.parametrize("model", ["nb", "zinb"])
def test_a_rebuilt_model_encodes_as_the_fitted_one(fitted: AnnData, model: str, tmp_path: Path) -> None:
    fitted.write_h5ad(tmp_path / "fit.h5ad")
    rebuilt = zt.get.model(anndata.read_h5ad(tmp_path / "fit.h5ad"), model)
    assert (rebuilt.likelihood, rebuilt.n_replicates, rebuilt.training) == (model, 1, False)
    with torch.no_grad():
        latent = rebuilt.encode(CountData(fitted.X).batch(torch.arange(300))).z.mean[0]
    np.testing.assert_allclose(latent, fitted.obsm[f"X_{model}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("restart", [None, 0, 1])
def test_any_restart_can_be_had(fitted: AnnData, restart: int | None) -> None:
    results = fitted.uns["zinbtools"]
    which = results["params"]["best_restart"]["zinb"] if restart is None else restart
    state = zt.get.model(fitted, "zinb", restart=restart).replicate_state()
    stored = results["weights"]["zinb"]
    assert set(state) == {name for name in stored if name not in ("library_mean", "library_variance")}
    for name, value in state.items():
        np.testing.assert_array_equal(value.detach(), stored[name][[which]])


def test_a_rebuilt_model_has_arrays_of_its_own(fitted: AnnData) -> None:
    before = fitted.copy()
    rebuilt = zt.get.model(fitted, "nb")
    with torch.no_grad():
        for parameter in rebuilt.parameters():
            parameter.zero_()
        rebuilt.library_mean.zero_()
    assert_same_anndata(fitted, before)


@pytest.mark.parametrize(("model", "kind"), LAYERS)
def test_expected_counts_are_the_layers(fitted: AnnData, model: str, kind: str) -> None:
    block = zt.get.expected_counts(fitted, model=model, kind=kind)
    assert (block.dtypes == np.float32).all()
    assert block.index.equals(fitted.obs_names)
    assert block.columns.equals(fitted.var_names)
    np.testing.assert_array_equal(block, fitted.layers[f"{model}_{kind}"])


def test_what_needs_layers_computes_those_that_were_left_out(fitted: AnnData) -> None:
    calls = (zt.get.zero_study_df, lambda adata: zt.get.gene_df(adata, adata.var_names[3]))
    expected = [call(fitted) for call in calls]
    del fitted.layers["nb_mean"], fitted.layers["zinb_mean"]
    for call, frame in zip(calls, expected, strict=True):
        pd.testing.assert_frame_equal(call(fitted), frame)


def test_cells_and_genes_that_were_not_fitted_have_no_layers_computed(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False, mask_var="even", n_draws=1, layers=())
    more = anndata.concat([counts, counts[:7].copy()], merge="same", uns_merge="same", index_unique="-")
    more.obs.iloc[-7:, more.obs.columns.get_indexer(["zinbtools_split"])] = np.nan
    assert len(zt.get.zero_study_df(more)) == (counts.X.toarray() == 0)[:, counts.var["even"]].sum()
    assert zt.get.gene_df(more, counts.var_names[0])["observed"].sum() == counts.n_obs
    with pytest.raises(ValueError, match=r"was not fitted; name one within mask_var\.$"):
        zt.get.gene_df(more, counts.var_names[1])


def test_layers_of_a_model_that_was_not_fitted_are_not_computed(large: AnnData) -> None:
    with pytest.raises(ValueError, match=r"model must be one of zinb, found 'nb'\.$"):
        zt.get.gene_df(large, large.var_names[0])


@pytest.mark.parametrize("model", ["nb", "zinb"])
def test_the_probability_of_a_zero(fitted: AnnData, model: str) -> None:
    zero = zt.get.expected_counts(fitted, model=model, kind="zero").to_numpy()
    assert zero.min() >= 0
    assert zero.max() <= 1
    np.testing.assert_allclose(zero.mean(axis=0), fitted.var[f"{model}_zero_fraction"], rtol=1e-4)
    if model == "zinb":
        assert (zero >= fitted.layers["zinb_dropout"] - 1e-6).all()


def test_an_nb_has_no_dropout(fitted: AnnData) -> None:
    assert (zt.get.expected_counts(fitted, model="nb", kind="dropout") == 0).all(axis=None)


@pytest.fixture(scope="module")
def large() -> AnnData:
    """More cells than are computed at a time."""
    adata = zt.simulate.zisynth(n_obs=1100)
    zt.tl.fit_nb_zinb(adata, max_epochs=1, progress=False, models="zinb", n_draws=2)
    return adata


def test_any_block_in_any_order(large: AnnData) -> None:
    rows, columns = np.array([1099, 3, 600, 4, 511, 512]), np.array([7, 2, 40])
    block = zt.get.expected_counts(large, obs=large.obs_names[rows], var=list(large.var_names[columns]))
    np.testing.assert_array_equal(block, large.layers["zinb_mean"][np.ix_(rows, columns)])
    assert block.index.tolist() == large.obs_names[rows].tolist()
    assert block.columns.tolist() == large.var_names[columns].tolist()
    chosen = np.isin(np.arange(1100), rows)
    block = zt.get.expected_counts(large, obs=chosen, kind="dropout")
    np.testing.assert_array_equal(block, large.layers["zinb_dropout"][chosen])
    assert zt.get.expected_counts(large, obs=[]).shape == (0, 50)


def test_masked_genes_are_nan(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False, mask_var="even", key_added="run", n_draws=1)
    names = counts.var_names[[5, 4, 0, 1]]
    for block in (
        zt.get.expected_counts(counts, var=names, key="run"),
        zt.get.posterior_dropout(counts, var=names, key="run"),
    ):
        assert block.isna().all().tolist() == [True, False, False, True]
        assert block.notna().all().tolist() == [False, True, True, False]


def test_posterior_dropout_by_hand(counts: AnnData) -> None:
    """With one draw, the layers hold the very parameters of that draw."""
    zt.tl.fit_nb_zinb(counts, max_epochs=3, progress=False, n_draws=1)
    mu = counts.layers["zinb_mean"].astype(np.float64)
    pi = counts.layers["zinb_dropout"].astype(np.float64)
    theta = counts.var["zinb_inverse_dispersion"].to_numpy()
    nb_zero = (theta / (theta + mu)) ** theta
    expected = np.where(counts.X.toarray() == 0, pi / (pi + (1 - pi) * nb_zero), 0)
    found = zt.get.posterior_dropout(counts)
    assert (found.dtypes == np.float32).all()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
    assert (found.to_numpy()[counts.X.toarray() == 0] > 0).all()


def test_a_subset_of_the_cells_can_be_asked(fitted: AnnData) -> None:
    """Also where some gene has no count left."""
    some = fitted[:1].copy()
    assert (np.asarray(some.X.sum(axis=0)) == 0).any()
    assert np.isfinite(zt.get.expected_counts(some)).all(axis=None)
    assert zt.get.posterior_dropout(some).shape == (1, 50)


def test_other_genes_are_refused(fitted: AnnData) -> None:
    with pytest.raises(ValueError, match="adata lacks 30 of the 50 genes that were fitted, 'gene_20' among"):
        zt.get.expected_counts(fitted[:, :20].copy())


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"model": "poisson"}, ValueError, "model must be one of 'nb', 'zinb', found 'poisson'"),
        ({"kind": "variance"}, ValueError, "kind must be one of 'mean', 'dropout', 'zero', found 'variance'"),
        ({"obs": ["nobody"]}, KeyError, r"obs: 'nobody' is not in adata\.obs_names"),
        ({"var": ["nothing"]}, KeyError, r"var: 'nothing' is not in adata\.var_names"),
        (
            {"var": np.ones(3, dtype=bool)},
            ValueError,
            r"var must be boolean of length 50, found shape \(3,\)",
        ),
        ({"key": "elsewhere"}, KeyError, r"adata\.uns\['elsewhere'\] holds no fit"),
        ({"device": "abacus"}, ValueError, "device must be 'auto'"),
    ],
)
def test_what_is_refused(
    fitted: AnnData, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        zt.get.expected_counts(fitted, **arguments)


def test_a_restart_that_is_not_there_is_refused(fitted: AnnData) -> None:
    with pytest.raises(ValueError, match=r"restart must be one of .*\(0, 1\), found 2"):
        zt.get.model(fitted, "nb", restart=2)


def test_posterior_dropout_needs_the_zinb(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, models="nb", progress=False)
    with pytest.raises(ValueError, match="model must be one of nb, found 'zinb'"):
        zt.get.posterior_dropout(counts)
