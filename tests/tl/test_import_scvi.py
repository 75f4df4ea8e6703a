"""`import_scvi`: the same function, exactly, or a refusal. What needs scvi-tools is skipped without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import stats

import zinbtools as zt
from zinbtools.get._fitted import Fitted
from zinbtools.tl._scvi import convert

SETUPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch": {"batch_key": "sample"},
    "everything": {
        "batch_key": "sample",
        "categorical_covariate_keys": ["donor", "cell_type"],
        "continuous_covariate_keys": ["age", "depth"],
    },
    "continuous": {"continuous_covariate_keys": ["age"]},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "latent library": {"use_observed_lib_size": False},
    "three layers": {"n_layers": 3, "n_hidden": 17, "n_latent": 4, "use_observed_lib_size": False},
    "injected once": {"n_layers": 2, "deeply_inject_covariates": False},
    "gene-batch": {"dispersion": "gene-batch"},
    "gene-cell": {"dispersion": "gene-cell", "gene_likelihood": "nb"},
    "one label": {"dispersion": "gene-label"},
    "no normalisation": {"use_batch_norm": "none", "use_observed_lib_size": False},
    "normalised encoder": {"use_batch_norm": "encoder"},
    "no dropout": {"dropout_rate": 0},
}


@pytest.fixture
def scvi() -> Any:
    return pytest.importorskip("scvi", reason="scvi-tools is not installed")


def scvi_model(scvi: Any, adata: AnnData, setup: dict[str, Any], **options: Any) -> Any:
    """An SCVI model with all its numbers at random, normalisation's moments too."""
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(adata, **setup)
    model = scvi.model.SCVI(adata, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.module.state_dict().items():
            if value.is_floating_point() and not name.startswith("library"):
                value.add_(0.1 * torch.rand(value.shape, generator=generator) - 0.05)
    model.module.eval()
    model.is_trained_ = True
    return model


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_function_is_the_same(scvi: Any, counts: AnnData, setup: str, options: str) -> None:
    source = scvi_model(scvi, counts, SETUPS[setup], **OPTIONS[options])
    zt.tl.import_scvi(counts, source, n_draws=1)
    fit = Fitted.read(counts, "scvi")
    likelihood = source.module.gene_likelihood
    ours, data = fit.load(likelihood, torch.device("cpu")), fit.data(counts, torch.device("cpu"))
    batch = data.batch(torch.arange(300))
    (tensors,) = source._make_data_loader(adata=source.adata, batch_size=300)
    with torch.no_grad():
        inferred = source.module.inference(**source.module._get_inference_input(tensors))
        theirs = source.module.generative(**source.module._get_generative_input(tensors, inferred))
        posterior = ours.encode(batch)
        parameters = ours.decode(inferred["z"][None], inferred["library"][None], batch)
    same(posterior.z.mean[0], inferred["qz"].loc)
    same(posterior.z.variance[0], inferred["qz"].variance)
    if posterior.library is None:
        same(batch.log_library, inferred["library"].squeeze(1))
    else:
        same(posterior.library.mean[0], inferred["ql"].loc)
        same(posterior.library.variance[0], inferred["ql"].variance)
        mean, variance = ours.library_prior(batch)
        same(mean, theirs["pl"].loc.squeeze(1))
        same(variance, theirs["pl"].variance.squeeze(1))
    px = theirs["px"]
    same(parameters.log_mean[0].exp(), px.mu)
    same(parameters.log_theta[0].exp(), px.theta)
    if likelihood == "zinb":
        same(parameters.dropout_logit[0], px.zi_logits)
    log_prob = parameters.distribution().log_prob(batch.dense())[0]
    # theirs adds 1e-8 in the logarithms, and loses digits to gamma functions in single precision
    same(log_prob.sum(-1), px.log_prob(tensors["X"]).sum(-1), rtol=1e-3)


def same(ours: torch.Tensor, theirs: torch.Tensor, rtol: float = 2e-4) -> None:
    ours, theirs = torch.broadcast_tensors(ours, theirs)
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=rtol, atol=2e-4)


@pytest.mark.filterwarnings("default")
def test_every_verb_goes_on_from_there(scvi: Any, counts: AnnData) -> None:
    scvi.model.SCVI.setup_anndata(counts, batch_key="sample")
    models = []
    for likelihood in ("zinb", "nb"):
        scvi.settings.seed = 0
        model = scvi.model.SCVI(counts, gene_likelihood=likelihood, use_observed_lib_size=False)
        model.train(
            max_epochs=2,
            train_size=0.8,
            validation_size=0.1,
            check_val_every_n_epoch=1,
            accelerator="cpu",
            enable_progress_bar=False,
        )
        models.append(model)
    zt.tl.import_scvi(counts, models)
    for name, model in zip(("zinb", "nb"), models, strict=True):
        expected = model.get_latent_representation()
        np.testing.assert_allclose(counts.obsm[f"X_scvi_{name}"], expected, rtol=1e-3, atol=1e-4)
    indices = {"train": models[0].train_indices, "validation": models[0].validation_indices}
    for split, members in indices.items():
        assert (counts.obs["scvi_split"] == split).to_numpy().nonzero()[0].tolist() == sorted(members)
    history = zt.get.history_df(counts, key="scvi")
    np.testing.assert_allclose(
        history.query("model == 'nb'")["validation_elbo"],
        -models[1].history["elbo_validation"].iloc[:, 0].to_numpy(dtype=float),
    )
    zt.tl.marginal_ll(counts, n_samples=200, split="all", proposal="posterior", key="scvi")
    zt.tl.ppc(counts, n_samples=5, n_null=5, key="scvi")
    zt.tl.zi_scores(counts, key="scvi")
    assert set(zt.get.ppc_df(counts, key="scvi")["model"]) == {"nb", "zinb"}
    # after two epochs the encoder's draws are few and far off: estimates stray, but to both sides
    for name, model in zip(("zinb", "nb"), models, strict=True):
        theirs = model.get_marginal_ll(n_mc_samples=200, return_mean=False).numpy()
        n_higher = int((counts.obs[f"scvi_{name}_marginal_ll"].to_numpy() > theirs).sum())
        assert stats.binomtest(n_higher, len(theirs)).pvalue > 1e-4


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("setup", "options", "words"),
    [
        ({}, {"gene_likelihood": "poisson"}, "gene_likelihood='poisson'"),
        ({}, {"latent_distribution": "ln"}, "latent_distribution='ln'"),
        ({}, {"log_variational": False}, "log_variational=False"),
        ({"labels_key": "cell_type"}, {"dispersion": "gene-label"}, "dispersion='gene-label'"),
        ({"size_factor_key": "depth"}, {}, "size_factor_key"),
        ({"batch_key": "sample"}, {"batch_representation": "embedding"}, "batch_representation='embedding'"),
        ({"batch_key": "sample"}, {"encode_covariates": True}, "encode_covariates=True"),
        ({}, {"use_layer_norm": "both"}, "layers of type LayerNorm"),
        ({}, {"var_activation": torch.nn.functional.softplus}, "another variance activation than exp"),
        ({}, {"extra_decoder_kwargs": {"activation_fn": torch.nn.Tanh}}, "layers of type Tanh"),
    ],
)
def test_what_has_no_counterpart_is_refused(
    scvi: Any, counts: AnnData, setup: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    source = scvi_model(scvi, counts, setup, **options)
    with pytest.raises(ValueError, match=f"model has .*{words}.* no counterpart"):
        convert(source)


@pytest.mark.filterwarnings("default")
def test_other_cells_are_for_testing_and_other_genes_refused(scvi: Any, counts: AnnData) -> None:
    counts.layers["raw"] = counts.X.copy()
    trained = counts[:200, 5:].copy()
    source = scvi_model(scvi, trained, {"layer": "raw"}, gene_likelihood="nb")
    source.train_indices_, source.validation_indices_ = np.arange(150), np.arange(150, 200)
    held_out = counts[100:].copy()
    zt.tl.import_scvi(held_out, source)
    assert held_out.obs["scvi_split"].tolist() == ["train"] * 50 + ["validation"] * 50 + ["test"] * 100
    assert held_out.var["scvi_nb_zero_fraction"].isna().tolist() == [True] * 5 + [False] * 45
    assert held_out.uns["scvi"]["params"]["layer"] == "raw"
    with pytest.raises(ValueError, match="adata lacks 1 genes of the model, 'gene_05' among them"):
        zt.tl.import_scvi(counts[:, 6:].copy(), source)
    with pytest.raises(ValueError, match="genes in another order"):
        zt.tl.import_scvi(counts[:, ::-1].copy(), source)
    with pytest.raises(ValueError, match="one model of each likelihood, found nb, nb"):
        zt.tl.import_scvi(trained, [source, source])
    wide = scvi_model(scvi, trained, {"layer": "raw"}, gene_likelihood="zinb", n_hidden=9)
    with pytest.raises(ValueError, match="different set-up; import them under different key_added"):
        zt.tl.import_scvi(trained, [source, wide])


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (3, TypeError, "model must be an SCVI model with its AnnData, found int without module"),
        ([], ValueError, "found an empty list"),
    ],
)
def test_what_is_no_model_is_refused(
    counts: AnnData, model: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        zt.tl.import_scvi(counts, model)


@pytest.mark.filterwarnings("default")
def test_verbs_that_fit_anew_take_the_imported_settings(scvi: Any, counts: AnnData) -> None:
    """scvi-tools leaves no test cells by default; then the cells are split anew."""
    source = scvi_model(scvi, counts, {"batch_key": "sample"}, n_latent=4, n_hidden=16)
    source.train_indices_, source.validation_indices_ = np.arange(270), np.arange(270, 300)
    zt.tl.import_scvi(counts, source)
    zinb = scvi_model(scvi, counts, {"batch_key": "sample"}, n_latent=4, n_hidden=16, gene_likelihood="nb")
    zinb.train_indices_, zinb.validation_indices_ = source.train_indices_, source.validation_indices_
    zt.tl.import_scvi(counts, [source, zinb])
    assert counts.uns["scvi"]["params"]["trained_by"] == "scvi-tools"
    zt.tl.zi_scores(counts, n_bootstrap=1, key="scvi")
    assert counts.var["scvi_zi_pval_bootstrap"].notna().all()
    zt.tl.zi_replication(counts, key="scvi")
    assert len(zt.get.zi_replication_df(counts, by="part", key="scvi")) == 2
    zt.tl.model_selection(
        counts,
        n_restarts=1,
        folds=1,
        n_samples=5,
        n_null=2,
        metrics=["nll"],
        progress=False,
        key_added="scvi",
    )
    params = counts.uns["scvi"]["params"]
    assert (params["n_latent"], params["n_hidden"], params["batch_key"]) == (4, 16, "sample")
    assert (counts.obs["scvi_split"] == "test").sum() == 30


def trained(scvi: Any, adata: AnnData, likelihood: str, seed: int = 0, **how: Any) -> Any:
    """As people train: with scvi-tools' own split, which has no test cells."""
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(adata, batch_key="sample")
    model = scvi.model.SCVI(adata, gene_likelihood=likelihood, n_hidden=16)
    model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, **how)
    return model


@pytest.mark.filterwarnings("default")
def test_a_pair_that_was_plainly_trained_gets_the_verdict(scvi: Any, counts: AnnData) -> None:
    pair = [trained(scvi, counts, likelihood) for likelihood in ("nb", "zinb")]
    with pytest.warns(UserWarning, match="the 30 validation cells are taken for them.* these did not"):
        zt.tl.import_scvi(counts, pair)
    zt.tl.model_selection(
        counts, n_samples=20, n_null=3, metrics=["nll"], retrain=False, progress=False, key_added="scvi"
    )
    verdict = zt.get.verdict(counts, key="scvi")
    row = verdict.differences.set_index("model").loc["zinb"]
    assert (row["n_cells"], row["n_restarts"], row["n_folds"]) == (30, 1, 1)
    gain = counts.obs["scvi_zinb_marginal_ll"] - counts.obs["scvi_nb_marginal_ll"]
    assert gain.notna().sum() == 30
    np.testing.assert_allclose(row["difference"], gain.mean(), rtol=1e-6)
    assert counts.uns["scvi"]["params"]["trained_by"] == "scvi-tools"
    assert any("favours the NB" in caution for caution in verdict.cautions)
    assert not any("validation cells" in caution for caution in verdict.cautions)
    np.testing.assert_allclose(
        counts.obsm["X_scvi_nb"], pair[0].get_latent_representation(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.filterwarnings("default")
def test_a_pair_of_different_splits_says_what_to_do(scvi: Any, counts: AnnData) -> None:
    pair = [trained(scvi, counts, "nb", seed=1), trained(scvi, counts, "zinb", seed=2)]
    seen = set(pair[0].train_indices) | set(pair[1].train_indices)
    n_unseen = 300 - len(seen)
    with pytest.warns(UserWarning, match=rf"{n_unseen} cells? of 300 (is|are) new to both.*settings\.seed"):
        zt.tl.import_scvi(counts, pair)
    assert set(np.flatnonzero(counts.obs["scvi_split"] == "train")) == seen


@pytest.mark.filterwarnings("default")
def test_imports_live_side_by_side_and_one_says_what_another_lacks(scvi: Any, counts: AnnData) -> None:
    nb, zinb = (trained(scvi, counts, likelihood) for likelihood in ("nb", "zinb"))
    zt.tl.import_scvi(counts, zinb)
    zt.tl.import_scvi(counts, nb, key_added="theirs")
    assert {"X_scvi_zinb", "X_theirs_nb"} <= set(counts.obsm)
    for key, name in (("scvi", "zinb"), ("theirs", "nb")):
        zt.tl.marginal_ll(counts, n_samples=5, key=key)
        assert counts.obs[f"{key}_{name}_marginal_ll"].notna().sum() == 30
    with pytest.raises(ValueError, match=r"only a ZINB was imported; .*import_scvi\(adata, \[nb, zinb\]"):
        zt.tl.zi_scores(counts, key="scvi")
    with pytest.raises(ValueError, match="retrain must be True where there is only the ZINB.* import both"):
        zt.tl.model_selection(counts, key_added="scvi", retrain=False)
    with pytest.warns(UserWarning, match="the ZINB that was imported as key_added='scvi' is replaced"):
        zt.tl.import_scvi(counts, nb)


@pytest.mark.filterwarnings("default")
def test_cells_that_told_when_to_stop_are_a_caution(scvi: Any, counts: AnnData) -> None:
    pair = [trained(scvi, counts, likelihood, early_stopping=True) for likelihood in ("nb", "zinb")]
    with pytest.warns(UserWarning, match=r"these did\."):
        zt.tl.import_scvi(counts, pair)
    zt.tl.model_selection(
        counts, n_samples=5, n_null=2, metrics=["nll"], retrain=False, progress=False, key_added="scvi"
    )
    cautions = zt.get.verdict(counts, key="scvi").cautions
    assert any("may have said when the trainings stopped" in caution for caution in cautions)
