"""The fake fit is of the same build as a real one, and both are as the package's list of parts says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit

from zinbtools import tl
from zinbtools._record import parts
from zinbtools._record.keys import Keys
from zinbtools._record.parts import Part
from zinbtools._record.record import Record
from zinbtools.tl._conditional import remove_causes

PARTS = {name: part for name, part in vars(parts).items() if isinstance(part, Part)}
OF_OPTIONS = {"BOOTSTRAP", "CAUSES_FAMILIES", "GROUPS", "ZI_BOOTSTRAP"}  # which the fake has not been given
LEFT_OUT = {"FAILURES", "READS", *OF_OPTIONS}  # READS are of counts without a fit: test_reads_per_molecule


@pytest.fixture(scope="module")
def real(_fitted: AnnData) -> AnnData:
    """A fit and everything that follows it, by their default methods."""
    adata = _fitted.copy()
    tl.tune(adata, max_evals=1, max_epochs=2, n_samples=5, progress=False)
    tl.zi_replication(adata)
    tl.explain_zeros(adata)
    tl.consequences(adata)
    tl.power(adata, n_cells=[500, 2000], dropout=[0.1])
    return adata


def names(found: Any, place: str) -> Iterator[tuple[str, str]]:
    """Everything that can be named, with the kind of its values."""
    if isinstance(found, Mapping | pd.DataFrame):
        for name in found:
            yield from names(found[name], f"{place}/{name}")
    else:
        yield place, np.asarray(found).dtype.kind.replace("O", "U")


def build(adata: AnnData) -> dict[str, str]:
    """Names of the results, with kinds; but for the settings that a search tries, which are its space's."""
    ours, keys = Keys().all_names(), Keys()
    found: dict[str, Any] = {
        place: {name: getattr(adata, place)[name] for name in there if name in getattr(adata, place)}
        for place, there in ours.items()
    }
    found["obs"][keys.tuning_split] = adata.obs[keys.tuning_split]
    found["uns"] = {name: dict(adata.uns[name]) for name in (keys.uns, keys.zero_test)}
    tuning = adata.uns[keys.uns]["tuning"]
    found["uns"][keys.uns] |= {
        "tuning": tuning
        | {"best": list(tuning["best"]), "trials": tuning["trials"].drop(columns=tuning["best"]["nb"])}
    }
    return dict(names(found, ""))


def test_fake_and_real_have_the_same_names(real: AnnData) -> None:
    assert build(fake_fit(calls=True)) == build(real)


def test_without_calls_the_fake_is_as_another_method_leaves_it(real: AnnData) -> None:
    tl.zi_scores(adata := real.copy(), method="predictive", n_samples=3)
    remove_causes(fake := fake_fit(), Keys())  # it has them whatever made its scores, to be drawn
    assert build(fake) == build(adata)


@pytest.mark.parametrize("key", [None, "run2"])
def test_the_fake_is_all_there_under_any_key(key: str | None) -> None:
    record = Record.read(fake_fit(key=key), key)
    assert {name for name, part in PARTS.items() if part not in record} == LEFT_OUT


@pytest.mark.parametrize("name", sorted(set(PARTS) - LEFT_OUT))
def test_verbs_write_what_the_list_says(name: str, real: AnnData) -> None:
    holds, found = PARTS[name].holds, Record.read(real)[PARTS[name]]
    assert [column for column in found if column in holds] == list(holds) or isinstance(found, Mapping)


def test_options_write_what_the_list_says(counts: AnnData) -> None:
    some = counts[counts.obs["donor"] != "z"].copy()
    settings: dict[str, Any] = {"max_epochs": 2, "progress": False, "n_samples": 5, "n_null": 2}
    tl.model_selection(some, n_restarts=1, folds=1, n_bootstrap=1, groupby="donor", **settings)
    tl.zi_scores(some, n_bootstrap=1)
    found = {name: Record.read(some)[PARTS[name]] for name in OF_OPTIONS - {"CAUSES_FAMILIES"}}
    tl.explain_zeros(some, held_out=True)
    found["CAUSES_FAMILIES"] = Record.read(some)[PARTS["CAUSES_FAMILIES"]]
    for name in OF_OPTIONS:
        assert list(found[name]) == list(PARTS[name].holds)
