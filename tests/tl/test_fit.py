"""What `fit_nb_zinb` writes, from whatever holds the counts, and what its settings do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from compare import assert_same, assert_same_anndata, assert_same_results
from scipy import sparse

import zinbtools as zt
from zinbtools._record.keys import Keys
from zinbtools.model import restarts
from zinbtools.model.compiled import CompiledStack
from zinbtools.model.data import CountData
from zinbtools.model.training import Cells, Training
from zinbtools.model.vae import Shape
from zinbtools.tl import _setup

N_OBS, N_VARS, N_LATENT = 300, 50, 10


def fit(adata: AnnData, **arguments: Any) -> AnnData:
    zt.tl.fit_nb_zinb(adata, **{"max_epochs": 2, "progress": False} | arguments)
    return adata


@pytest.fixture(scope="session")
def _reference(_simulated: AnnData) -> AnnData:
    return fit(_simulated.copy())


@pytest.fixture
def reference(_reference: AnnData) -> AnnData:
    """`counts` after the shortest of fits."""
    return _reference.copy()


# What is written


@pytest.mark.parametrize("key", [None, "run"])
def test_every_key_is_written(counts: AnnData, key: str | None) -> None:
    before = {place: set(getattr(counts, place)) for place in ("obsm", "layers", "obs", "var", "uns")}
    fit(counts, key_added=key)
    new = {place: set(getattr(counts, place)) - names for place, names in before.items()}
    prefix = "" if key is None else f"{key}_"
    name = key or "zinbtools"
    assert new == {
        "obsm": {f"X_{prefix}nb", f"X_{prefix}zinb"},
        "layers": {f"{prefix}nb_mean", f"{prefix}zinb_mean", f"{prefix}zinb_dropout"},
        "obs": {f"{name}_split", f"{name}_digest"},
        "var": {
            f"{prefix}{column}"
            for column in (
                "nb_inverse_dispersion",
                "zinb_inverse_dispersion",
                "nb_zero_fraction",
                "zinb_zero_fraction",
                "zinb_mean_dropout",
            )
        },
        "uns": {name},
    }
    assert set(counts.uns[name]) == {"params", "history", "metrics", "weights"}


def test_types_and_shapes(reference: AnnData) -> None:
    for name in ("X_nb", "X_zinb"):
        assert reference.obsm[name].dtype == np.float32
        assert reference.obsm[name].shape == (N_OBS, N_LATENT)
    for name in ("nb_mean", "zinb_mean", "zinb_dropout"):
        assert reference.layers[name].dtype == np.float32
        assert np.isfinite(reference.layers[name]).all()
    assert (reference.layers["zinb_mean"] > 0).all()
    assert reference.layers["zinb_dropout"].min() >= 0
    assert reference.layers["zinb_dropout"].max() <= 1
    split = reference.obs["zinbtools_split"]
    assert list(split.cat.categories) == ["train", "validation", "test"]
    assert split.value_counts().to_dict() == {"train": 240, "validation": 30, "test": 30}
    for name in ("nb_inverse_dispersion", "zinb_inverse_dispersion"):
        assert reference.var[name].dtype == np.float64
        assert (reference.var[name] > 0).all()
    for name in ("nb_zero_fraction", "zinb_zero_fraction", "zinb_mean_dropout"):
        assert reference.var[name].between(0, 1).all()


def test_the_averages_in_var_are_those_of_the_layers(reference: AnnData) -> None:
    dropout = reference.layers["zinb_dropout"].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(reference.var["zinb_mean_dropout"], dropout, rtol=1e-5)


def test_params_history_and_metrics(fitted: AnnData) -> None:
    results = fitted.uns["zinbtools"]
    params = results["params"]
    assert list(params["models"]) == ["nb", "zinb"]
    assert (params["protocol"], params["n_restarts"], params["max_epochs"]) == ("default", 2, 4)
    assert params["version"] == zt.__version__
    assert not {"layer", "batch_key", "fitted_genes", "failed", "covariates"} & set(params)
    history = results["history"]
    assert list(history) == ["model", "restart", "epoch", "train_elbo", "validation_elbo", "learning_rate"]
    assert history.groupby(["model", "restart"])["epoch"].apply(list).tolist() == [[0, 1, 2, 3]] * 4
    assert (history[["train_elbo", "validation_elbo"]] < 0).all(axis=None)
    metrics = results["metrics"]
    assert list(metrics) == ["model", "restart", "split", "metric", "value", "se"]
    assert not metrics.duplicated(["model", "restart", "split", "metric"]).any()
    for model in ("nb", "zinb"):
        found = metrics[metrics["model"] == model].groupby(["metric", "split"])["restart"].apply(list)
        expected = {("elbo", split) for split in ("train", "validation", "test")} | {
            (metric, "test") for metric in ("nll", "ess", "bad_pareto_k")
        }
        expected |= {(f"ks_{check}", "test") for check in ("dropout_ratio", "zeros_to_expression", "cv")}
        expected |= {("mean_dropout", "all"), ("excess_zeros", "test")} if model == "zinb" else set()
        assert found.to_dict() == dict.fromkeys(expected, [0, 1])
    assert "failures" not in results


def test_the_best_restart_is_the_one_of_highest_validation_elbo(fitted: AnnData) -> None:
    results = fitted.uns["zinbtools"]
    highest = results["history"].groupby(["model", "restart"])["validation_elbo"].max()
    for model, best in results["params"]["best_restart"].items():
        assert highest[model].idxmax() == best


def test_weights_hold_every_restart(fitted: AnnData) -> None:
    for model, arrays in fitted.uns["zinbtools"]["weights"].items():
        sizes = {name: len(array) for name, array in arrays.items() if not name.startswith("library_")}
        assert {size for name, size in sizes.items() if "library_encoder" not in name} == {2}, model
        assert ("dropout.weight" in arrays) == (model == "zinb")
        assert all(np.isfinite(array).all() for array in arrays.values())
    first, second = arrays["scale.weight"]
    assert (first != second).any()


def test_a_copy_is_what_is_written_in_place(counts: AnnData, reference: AnnData) -> None:
    before = counts.copy()
    result = zt.tl.fit_nb_zinb(counts, max_epochs=2, progress=False, copy=True)
    assert_same_anndata(counts, before)
    assert_same_anndata(result, reference)


@pytest.mark.parametrize("model", ["nb", "zinb"])
def test_a_model_alone_is_the_same_as_with_the_other(counts: AnnData, reference: AnnData, model: str) -> None:
    fit(counts, models=model)
    keys = Keys()
    assert_same(counts.layers[keys.mean(model)], reference.layers[keys.mean(model)], "mean")
    other = {"nb": "zinb", "zinb": "nb"}[model]
    left = {name for place in ("obsm", "layers", "var") for name in getattr(counts, place)} - {None}
    assert not {name for name in left if name.removeprefix("X_").split("_")[0] == other}


@pytest.mark.parametrize("layers", [("mean",), "dropout", ()])
def test_only_the_layers_asked_for_are_written(counts: AnnData, layers: str | tuple[str, ...]) -> None:
    fit(counts, layers=layers)
    expected = {"nb_mean", "zinb_mean"} if "mean" in layers else set()
    expected |= {"zinb_dropout"} if "dropout" in layers else set()
    assert set(counts.layers) - {None, "true_counts"} == expected


def test_layers_beyond_the_budget_are_left_out(counts: AnnData, reference: AnnData) -> None:
    needed = 3 * N_OBS * N_VARS * 4 / 2**30
    with pytest.warns(UserWarning, match=r"layers .* more than layer_memory=.*zt\.get\.expected_counts"):
        fit(counts, layer_memory=needed * 0.99)
    assert set(counts.layers) - {None} == {"true_counts"}
    # one draw per cell is enough for averages over cells
    for column in ("nb_inverse_dispersion", "nb_zero_fraction", "zinb_zero_fraction", "zinb_mean_dropout"):
        np.testing.assert_allclose(counts.var[column], reference.var[column], rtol=1e-6, atol=0.01)
    block = zt.get.expected_counts(counts, model="nb", kind="mean")
    np.testing.assert_array_equal(block, reference.layers["nb_mean"])
    fit(counts, layer_memory=needed * 1.01)
    counts.uns["zinbtools"]["params"]["layer_memory"] = 4.0  # all else is as without
    assert_same_anndata(counts, reference)


def test_a_new_fit_takes_away_what_the_old_one_left(fitted: AnnData) -> None:
    fitted.uns["other"] = {"kept": 1}
    fit(fitted, models=["nb"])
    names = {name for place in ("obsm", "layers", "obs", "var") for name in getattr(fitted, place)}
    written = {name for places in Keys().all_names().values() for name in places}
    assert names & written == {
        "X_nb",
        "nb_mean",
        "zinbtools_split",
        "zinbtools_digest",
        "nb_inverse_dispersion",
        "nb_zero_fraction",
    }
    assert set(fitted.uns["zinbtools"]) == {"params", "history", "metrics", "weights"}
    assert set(fitted.uns["zinbtools"]["metrics"]["metric"]) == {"elbo"}
    assert fitted.uns["other"] == {"kept": 1}


def test_fits_under_two_keys_live_side_by_side(reference: AnnData) -> None:
    before = reference.copy()
    fit(reference, key_added="run", rng=7)
    for place in ("layers", "obsm", "var", "obs"):
        for name in getattr(before, place):
            assert_same(getattr(reference, place)[name], getattr(before, place)[name], name)
    assert_same(reference.uns["zinbtools"], before.uns["zinbtools"], "uns")
    assert (reference.layers["run_nb_mean"] != reference.layers["nb_mean"]).any()


# Containers


def in_dask(X: sparse.csr_matrix, block: Callable[[np.ndarray], Any] | None = None) -> Any:
    array = pytest.importorskip("dask.array").from_array(X.toarray(), chunks=(100, -1))
    return array if block is None else array.map_blocks(block, dtype=X.dtype, meta=block(np.zeros((0, 0))))


def unsorted(X: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same rows with their entries in reverse order."""
    rows = [slice(*bounds) for bounds in zip(X.indptr[:-1], X.indptr[1:], strict=True)]
    order = np.concatenate([np.arange(X.nnz)[row][::-1] for row in rows])
    return sparse.csr_matrix((X.data[order], X.indices[order], X.indptr), shape=X.shape)


CONTAINERS: dict[str, Callable[[sparse.csr_matrix], Any]] = {
    "dense float32": lambda X: X.toarray(),
    "dense int64, by columns": lambda X: np.asfortranarray(X.toarray().astype(np.int64)),
    "csr_array float64": lambda X: sparse.csr_array(X.astype(np.float64)),
    "csr_matrix int32": lambda X: X.astype(np.int32),
    "csr_matrix unsorted": unsorted,
    "csc_matrix int64": lambda X: X.tocsc().astype(np.int64),
    "csc_array uint16": lambda X: sparse.csc_array(X.astype(np.uint16)),
    "dask of whole rows": in_dask,
    "dask of csr_matrix": lambda X: in_dask(X, sparse.csr_matrix),
}


@pytest.mark.parametrize(
    ("container", "layer"),
    [*((name, None) for name in CONTAINERS), ("csr_array float64", "here"), ("dask of whole rows", "here")],
)
def test_any_container_gives_the_same_bits(
    counts: AnnData, reference: AnnData, container: str, layer: str | None
) -> None:
    X = CONTAINERS[container](counts.X)
    if layer is None:
        counts.X = X
    else:
        counts.layers[layer], counts.X = X, None
    fit(counts, layer=layer)
    assert_same_results(counts, reference, but=("layer",))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_a_backed_file_gives_the_same_bits(
    counts: AnnData, reference: AnnData, tmp_path: Path, form: Callable[[Any], Any]
) -> None:
    counts.X = form(counts.X.toarray())
    counts.write_h5ad(tmp_path / "counts.h5ad")
    backed = anndata.read_h5ad(tmp_path / "counts.h5ad", backed="r")
    fit(backed)
    assert backed.isbacked
    assert_same_results(backed, reference)
    backed.file.close()


# Genes left out


@pytest.mark.parametrize("by_name", [True, False])
def test_masking_genes_is_fitting_without_them(counts: AnnData, by_name: bool) -> None:
    even = counts.var["even"].to_numpy()
    subset = fit(counts[:, even].copy())
    fit(counts, mask_var="even" if by_name else even)
    for place, names in Keys().all_names().items():
        for name in names:
            if place == "layers":
                assert_same(counts.layers[name][:, even], subset.layers[name], name)
                assert np.isnan(counts.layers[name][:, ~even]).all()
            elif place == "var" and name in subset.var:
                assert_same(counts.var[name][even].to_numpy(), subset.var[name].to_numpy(), name)
                assert counts.var[name][~even].isna().all()
    assert_same(counts.obsm, subset.obsm, "obsm")
    for part in ("history", "metrics", "weights"):
        assert_same(counts.uns["zinbtools"][part], subset.uns["zinbtools"][part], part)


# Seeds


@pytest.mark.parametrize(
    "seed",
    [
        {"rng": 0},
        {"rng": np.int64(0)},
        {"rng": np.random.SeedSequence(0)},
    ],
    ids=str,
)
def test_the_same_seed_gives_the_same_bits(counts: AnnData, reference: AnnData, seed: dict[str, Any]) -> None:
    assert_same_anndata(fit(counts, **seed), reference)


def test_workers_give_the_same_bits(counts: AnnData) -> None:
    arguments = {"n_restarts": 5, "batch_key": "sample"}
    workers = {"n_jobs": 2, "executor": "processes"}
    other = fit(counts.copy(), **arguments, **workers)
    zt.tl.marginal_ll(other, n_samples=3, **workers)
    fit(counts, **arguments)
    zt.tl.marginal_ll(counts, n_samples=3)
    assert_same_anndata(other, counts)


def test_an_executor_gives_the_same_bits(counts: AnnData, reference: AnnData) -> None:
    with ThreadPoolExecutor(2) as threads:
        fit(counts, executor=threads)
        assert_same_anndata(counts, reference)
        zt.tl.marginal_ll(counts, n_samples=3, executor=threads)
    zt.tl.marginal_ll(reference, n_samples=3)
    assert_same_anndata(counts, reference)


def test_a_resumed_fit_gives_the_same_bits(
    counts: AnnData, tmp_path: Path, trainings: list[tuple[Cells, Training]]
) -> None:
    expected = fit(counts.copy(), n_restarts=3)
    trainings.clear()
    fit(counts.copy(), n_restarts=2, models="zinb", resume=tmp_path)
    assert len(trainings) == 2
    assert_same_results(fit(counts, n_restarts=3, resume=tmp_path), expected)
    assert len(trainings) == 6
    with pytest.raises(ValueError, match="resume: .* holds the jobs of another run, whose data was"):
        fit(counts, rng=1, resume=tmp_path)


def test_a_cluster_gives_the_same_bits(counts: AnnData, reference: AnnData) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        assert_same_results(fit(counts, executor=client), reference)


def test_a_model_whose_restarts_all_fail_in_workers_leaves_the_object_as_it_was(counts: AnnData) -> None:
    before = counts.copy()
    with (
        ThreadPoolExecutor(2) as threads,
        pytest.raises(RuntimeError, match="No fit: the loss of the NB model"),
    ):
        fit(counts, learning_rate=1e30, n_restarts=2, n_jobs=2, executor=threads)
    assert_same_anndata(counts, before)


def test_another_seed_gives_another_fit(counts: AnnData, reference: AnnData) -> None:
    fit(counts, rng=1)
    assert (counts.obs["zinbtools_split"] != reference.obs["zinbtools_split"]).any()
    assert (counts.layers["nb_mean"] != reference.layers["nb_mean"]).mean() > 0.99


def test_a_generator_advances(counts: AnnData) -> None:
    generator = np.random.default_rng(3)
    first, second = fit(counts.copy(), rng=generator), fit(counts.copy(), rng=generator)
    again = fit(counts.copy(), rng=np.random.default_rng(3))
    assert_same_anndata(first, again)
    assert (first.layers["nb_mean"] != second.layers["nb_mean"]).any()


def test_the_split_can_be_a_column(counts: AnnData) -> None:
    split = np.array(["train", "validation", "test"])[np.arange(N_OBS) % 3]
    counts.obs["part"] = pd.Categorical(split)
    fit(counts, split="part")
    assert counts.obs["zinbtools_split"].tolist() == split.tolist()
    again = counts.copy()
    fit(again, split="zinbtools_split")
    assert again.uns["zinbtools"]["params"].pop("split") == "zinbtools_split"
    assert counts.uns["zinbtools"]["params"].pop("split") == "part"
    assert_same_anndata(again, counts)


# Settings

VARIANTS: dict[str, dict[str, Any]] = {
    "batch": {"batch_key": "sample"},
    "all covariates": {
        "batch_key": "sample",
        "categorical_covariate_keys": ["donor", "cell_type"],
        "continuous_covariate_keys": ["age", "depth"],
    },
    "size factors": {"size_factor_key": "depth", "dispersion": "gene-batch", "batch_key": "sample"},
    "blog2019": {"protocol": "blog2019", "n_layers": 2, "dropout_rate": 0},
    "masked": {"mask_var": "even", "n_latent": 3, "n_hidden": 16, "n_restarts": 2},
} | {
    f"{dispersion}, {library}": {"dispersion": dispersion, "library": library, "batch_key": "sample"}
    for dispersion in ("gene", "gene-batch", "gene-cell")
    for library in ("latent", "observed")
}


def write_and_read(adata: AnnData, folder: Path, form: str) -> AnnData:
    path = folder / f"fit.{form}"
    getattr(adata, f"write_{form}")(path)
    return getattr(anndata, f"read_{form}")(path)


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize(
    ("variant", "form"), [*((name, "h5ad") for name in VARIANTS), ("all covariates", "zarr")]
)
def test_every_variant_comes_back_from_a_file(
    counts: AnnData, tmp_path: Path, variant: str, form: str
) -> None:
    fit(counts, **VARIANTS[variant])
    genes = counts.var["even"].to_numpy() if variant == "masked" else np.ones(N_VARS, dtype=bool)
    back = write_and_read(counts, tmp_path, form)
    assert_same_anndata(back, counts)
    for name in ("nb_mean", "zinb_mean", "zinb_dropout"):
        model, kind = name.split("_")
        assert np.isfinite(counts.layers[name][:, genes]).all()
        rebuilt = zt.get.expected_counts(back, model=model, kind=kind)
        np.testing.assert_allclose(rebuilt, counts.layers[name], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_files_keep_everything_and_work_goes_on(fitted: AnnData, tmp_path: Path, form: str) -> None:
    back = write_and_read(fitted, tmp_path, form)
    assert_same_anndata(back, fitted)
    for adata in (back, fitted):
        zt.tl.marginal_ll(adata, n_samples=3, split="validation", rng=4)
        zt.tl.ppc(adata, n_samples=3, split="train", rng=4)
        zt.tl.zi_scores(adata, split="all", rng=4)
    assert_same_anndata(back, fitted)
    assert_same_anndata(write_and_read(back, tmp_path, "h5ad"), fitted)


@pytest.mark.parametrize("key", ["batch_key", "categorical_covariate_keys", "continuous_covariate_keys"])
def test_covariates_reach_the_decoder(counts: AnnData, key: str) -> None:
    """The same latent state means other counts in another batch."""
    column = "age" if key.startswith("continuous") else "sample"
    fit(counts, **{key: column})
    other = counts.copy()
    other.obs[column] = np.roll(counts.obs[column].to_numpy(), 1)
    changed = (other.obs[column].astype(str) != counts.obs[column].astype(str)).to_numpy()
    before, after = zt.get.expected_counts(counts), zt.get.expected_counts(other)
    assert changed.any()
    np.testing.assert_array_equal((before != after).to_numpy().any(axis=1), changed)


def test_an_unseen_category_is_refused(counts: AnnData) -> None:
    fit(counts, batch_key="donor")
    counts.obs["donor"] = "w"
    with pytest.raises(ValueError, match=r"obs\['donor'\] holds 'w', which the fitted model has not seen"):
        zt.get.expected_counts(counts)


def test_size_factors_take_the_place_of_the_library_size(counts: AnnData) -> None:
    fit(counts, size_factor_key="depth", max_epochs=1)
    assert counts.uns["zinbtools"]["params"]["library"] == "size_factor"
    before = zt.get.expected_counts(counts, model="nb")
    counts.obs["depth"] *= 2
    np.testing.assert_allclose(zt.get.expected_counts(counts, model="nb"), 2 * before, rtol=1e-5)


def test_an_observed_library_fixes_the_sum_of_the_means(counts: AnnData) -> None:
    fit(counts, library="observed")
    total = np.asarray(counts.X.sum(axis=1)).ravel()
    np.testing.assert_allclose(counts.layers["zinb_mean"].sum(axis=1), total, rtol=1e-4)


def test_epochs_follow_from_the_number_of_training_cells(
    counts: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_setup, "default_epochs", lambda n_cells: n_cells // 120)
    fit(counts, max_epochs=None)
    assert counts.uns["zinbtools"]["params"]["max_epochs"] == 2


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cells, Training]]:
    """What the training was given and gave, in the order of the models."""
    train, seen = restarts.train, []

    def spy(name: str, data: CountData, shape: Shape, cells: Cells, *rest: Any, **options: Any) -> Training:
        training = train(name, data, shape, cells, *rest, **options)
        seen.append((cells, training))
        return training

    monkeypatch.setattr(restarts, "train", spy)
    return seen


@pytest.mark.parametrize(("protocol", "kept"), [("default", 0), ("blog2019", 3)])
def test_which_weights_are_kept(
    counts: AnnData,
    trainings: list[tuple[Cells, Training]],
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
    kept: int,
) -> None:
    """The default keeps the best epoch's, the study's protocol the last one's."""

    def falling(self: Any, cells: torch.Tensor) -> list[float]:
        self.last = getattr(self, "last", 1.0) - 1
        return [self.last] * len(self._n_steps)

    monkeypatch.setattr(CompiledStack, "elbo", falling)
    fit(counts, protocol=protocol, max_epochs=4, models="nb", n_restarts=2)
    assert counts.uns["zinbtools"]["history"]["validation_elbo"].tolist() == [0, 0, -1, -1, -2, -2, -3, -3]
    assert [epoch for _, training in trainings for epoch in training.best_epoch] == [kept, kept]


def test_the_protocol_of_the_study(counts: AnnData, trainings: list[tuple[Cells, Training]]) -> None:
    """80/20, no validation cells, stopped on test cells, Adam and its constant rate."""
    fit(counts, protocol="blog2019", max_epochs=3)
    assert counts.obs["zinbtools_split"].value_counts().to_dict() == {
        "train": 240,
        "test": 60,
        "validation": 0,
    }
    results = counts.uns["zinbtools"]
    expected = {
        "stop_on": "test",
        "prior_cells": "all",
        "initialisation": "random",
        "schedule": "constant",
        "restore_best": False,
        "adam_eps": 0.01,
        "weight_decay": 1e-6,
        "learning_rate": 1e-3,
    }
    assert {name: results["params"][name] for name in expected} == expected
    assert set(results["history"]["learning_rate"]) == {1e-3}
    assert set(results["metrics"]["split"]) == {"train", "test", "all"}
    for cells, _ in trainings:
        assert cells.train.tolist() == np.flatnonzero(counts.obs["zinbtools_split"] == "train").tolist()
        assert cells.stop.tolist() == np.flatnonzero(counts.obs["zinbtools_split"] == "test").tolist()
        assert cells.prior.tolist() == list(range(N_OBS))


def test_the_default_stops_on_validation_cells(
    counts: AnnData, trainings: list[tuple[Cells, Training]]
) -> None:
    fit(counts)
    for cells, _ in trainings:
        assert cells.stop.tolist() == np.flatnonzero(counts.obs["zinbtools_split"] == "validation").tolist()
        assert cells.prior.tolist() == cells.train.tolist()


def test_early_stopping_can_be_switched_off(counts: AnnData, trainings: list[tuple[Cells, Training]]) -> None:
    arguments = {"protocol": "blog2019", "max_epochs": 25, "models": "nb", "learning_rate": 1e-8}
    fit(counts, **arguments)
    fit(counts, **arguments, early_stopping=False)
    stopped, whole = (training.history[-1].epoch for _, training in trainings)
    assert stopped == 15
    assert whole == 24
