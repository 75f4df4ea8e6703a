"""What a fit was asked: stored and restored whole, and taken up by every refit."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData

import zinbtools as zt
from zinbtools._anndata.results import storable
from zinbtools._record.keys import Keys
from zinbtools._record.record import Record
from zinbtools.get._settings import FORMAT, FitSettings
from zinbtools.model.config import PROTOCOLS, FitConfig
from zinbtools.tl._asked import asked

# of every field another value than the default
OTHER: dict[str, Any] = {
    "layer": "raw",
    "mask_var": "even",
    "check_counts": False,
    "batch_key": "sample",
    "categorical_covariate_keys": ("donor", "a key"),
    "continuous_covariate_keys": ("age",),
    "size_factor_key": "depth",
    "protocol": "blog2019",
    "split": (0.7, 0.2, 0.1),
    "epochs_by_size": False,
    "batches_by_size": False,
    "n_draws": 7,
    "layers": ("mean",),
    "layer_memory": 0.5,
    "genes": ("one", "another"),
    "configs": {
        "nb": replace(PROTOCOLS["blog2019"].config, library="size_factor"),
        "zinb": FitConfig(
            n_latent=3,
            n_hidden=16,
            n_layers=2,
            dropout_rate=0.25,
            norm_momentum=0.3,
            dispersion="gene-cell",
            library="observed",
            batch_size=32,
            max_epochs=4,
            learning_rate=1e-4,
            schedule="constant",
            adam_eps=1e-3,
            weight_decay=0.01,
            initialisation="random",
            early_stopping=False,
            patience=3,
            min_delta=0.5,
            restore_best=False,
            stop_on="test",
            prior_cells="all",
        ),
    },
}


def restored(settings: FitSettings, path: Path | None = None) -> FitSettings:
    """Settings that were stored, and written to a file where one is given."""
    params = storable({**settings.stored(), "best_restart": dict.fromkeys(settings.models, 0)})
    adata = AnnData(np.ones((1, 1), np.float32), uns={"zinbtools": {"params": params, "weights": {}}})
    if path is not None:
        adata.write_h5ad(path)
        adata = anndata.read_h5ad(path)
    return read(adata)


def read(adata: AnnData) -> FitSettings:
    return FitSettings.restored(Record.read(adata))


@pytest.fixture
def default(counts: AnnData) -> FitSettings:
    return asked(counts, Keys()).changed(max_epochs=10)


def test_no_field_is_left_out() -> None:
    assert set(OTHER) == {field.name for field in fields(FitSettings)}
    default, other = FitConfig(), OTHER["configs"]["zinb"]
    assert [f.name for f in fields(FitConfig) if getattr(default, f.name) == getattr(other, f.name)] == []


@pytest.mark.parametrize("name", OTHER)
def test_every_field_comes_back(default: FitSettings, name: str, tmp_path: Path) -> None:
    settings = replace(default, **{name: OTHER[name]})
    assert getattr(settings, name) != getattr(default, name)
    assert restored(settings) == settings
    assert restored(settings, tmp_path / "a.h5ad") == settings


def test_all_fields_come_back_together(tmp_path: Path) -> None:
    settings = FitSettings(**OTHER)
    assert restored(settings, tmp_path / "a.h5ad") == settings
    assert restored(replace(settings, layers=(), split="part")) == replace(settings, layers=(), split="part")


def test_the_defaults_are_those_of_the_verb(counts: AnnData) -> None:
    parameters = inspect.signature(zt.tl.fit_nb_zinb).parameters
    mine = inspect.signature(asked).parameters
    of_run = {"adata", "n_restarts", "device", "n_jobs", "executor", "resume", "rng", "progress"}
    given = {name: p.default for name, p in parameters.items() if name not in of_run | {"key_added", "copy"}}
    assert {name: p.default for name, p in mine.items() if name in given} == {
        name: value for name, value in given.items() if name in mine
    }
    for protocol in PROTOCOLS:
        assert asked(counts, Keys(), **given | {"protocol": protocol}) == asked(
            counts, Keys(), protocol=protocol
        )


@pytest.mark.parametrize("name", ["n_latent", "split", "n_draws", "var_names"])
def test_a_damaged_record_is_named(fitted: AnnData, name: str) -> None:
    del fitted.uns["zinbtools"]["params"][name]
    with pytest.raises(
        ValueError, match=rf"adata.uns\['zinbtools'\]\['params'\] lacks '{name}'; .* fit again"
    ):
        read(fitted)


def test_a_later_format_is_refused(fitted: AnnData) -> None:
    fitted.uns["zinbtools"]["params"]["format"] = FORMAT + 1
    with pytest.raises(ValueError, match=f"later zinbtools, format {FORMAT + 1}; upgrade"):
        zt.tl.marginal_ll(fitted)


def test_the_first_format_is_read(fitted: AnnData) -> None:
    """That of 0.1.0 told neither its number nor the split, and all genes beside a mask."""
    params = fitted.uns["zinbtools"]["params"]
    before = read(fitted)
    for name in ("format", "split", "layers", "layer_memory", "epochs_by_size", "check_counts"):
        params.pop(name)
    params["protocol"] = "scvi-tools"
    params["var_names"] = np.array([*params["var_names"], "not fitted"], dtype=object)
    params["fitted_genes"] = np.arange(len(params["var_names"])) < len(before.genes)
    assert read(fitted) == replace(before, split=(0.8, 0.1, 0.1), epochs_by_size=False)
