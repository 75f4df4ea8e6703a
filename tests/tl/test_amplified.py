"""The verdict on reads whose molecules are known: copies are no zero inflation, lost molecules are."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

import zinbtools as zt

QUICK = {"n_restarts": 1, "folds": 3, "n_samples": 10, "n_null": 5, "progress": False}


def reads(dropout: float, n_obs: int = 400, n_vars: int = 150, rng: int = 3) -> AnnData:
    molecules = zt.simulate.gamma_poisson(
        n_obs, n_vars, means=np.geomspace(0.2, 6, n_vars), n_types=2, rng=rng
    )
    if dropout:
        molecules = zt.simulate.mixed(1.0, base=molecules, inflation=zt.simulate.Uniform(dropout), rng=rng)
    return zt.simulate.amplify(molecules, copies=15, rng=rng)


@pytest.fixture(scope="module")
def copied() -> AnnData:
    adata = reads(0.0)
    zt.tl.model_selection(adata, counts="reads", **QUICK)
    return adata


@pytest.mark.slow
def test_copies_are_no_zero_inflation(copied: AnnData) -> None:
    found = zt.get.verdict(copied)
    assert (found.verdict, found.explained_by) == ("better fit, not zero inflation", "amplification")
    rival = found.rivals.set_index("model").loc["nb-amplified"]
    assert rival["over_zinb_low"] > 0
    assert rival["zinb_position"] != "above"
    assert "its copies, not lost molecules, explain the zeros" in found.sentence
    assert "Caution: these look like reads" not in found.sentence
    level = copied.uns["zinbtools"]["model_selection"]["reads_per_molecule"]
    assert level == pytest.approx(copied.X.sum() / copied.layers["molecules"].sum(), rel=0.15)
    assert copied.uns["zinbtools"]["params"]["counts"] == "reads"


@pytest.mark.slow
def test_lost_molecules_survive_their_copies() -> None:
    molecules = zt.simulate.gamma_poisson(800, 200, means=np.geomspace(0.2, 8, 200), n_types=3, rng=33)
    lost = zt.simulate.mixed(1.0, base=molecules, inflation=zt.simulate.Uniform(0.3), rng=33)
    adata = zt.simulate.amplify(lost, copies=15, rng=33)
    zt.tl.model_selection(adata, counts="reads", **QUICK | {"folds": 1})
    found = zt.get.verdict(adata)
    assert (found.verdict, found.explained_by) == ("zinb", "")
    assert found.rivals.set_index("model").loc["nb-amplified", "zinb_low"] > 0
    assert (adata.var["zi_call"] == "zero-inflated").sum() > 40
    assert "explain the zeros" not in found.sentence


def test_what_was_read_once_is_no_copy() -> None:
    """Told to be reads, counts of molecules are compared as what they are."""
    adata = reads(0.0, 300, 120)
    adata.X = adata.layers["molecules"].copy()
    zt.tl.model_selection(adata, counts="reads", **QUICK)
    found = zt.get.verdict(adata)
    assert found.explained_by == ""
    assert adata.uns["zinbtools"]["model_selection"]["reads_per_molecule"] < 2
    rival = found.rivals.set_index("model").loc["nb-amplified"]
    assert rival["gain"] == rival["gain_low"] == 0
    assert rival["over_zinb"] == -rival["zinb_gain"]


@pytest.mark.slow
def test_copies_are_asked_for_before_zero_inflation_is_said() -> None:
    """Nobody says what these are, and so few genes do not show it."""
    copied = reads(0.0)
    zt.tl.model_selection(copied, **QUICK)
    assert copied.uns["zinbtools"]["params"]["counts"] != "reads"
    found = zt.get.verdict(copied)
    assert (found.verdict, found.explained_by) == ("better fit, not zero inflation", "amplification")


@pytest.mark.slow
def test_a_dropout_in_molecules_is_not_taken_for_copies() -> None:
    molecules = zt.simulate.gamma_poisson(800, 200, means=np.geomspace(0.2, 8, 200), n_types=3, rng=33)
    lost = zt.simulate.mixed(1.0, base=molecules, inflation=zt.simulate.Uniform(0.3), rng=33)
    zt.tl.model_selection(lost, **QUICK | {"folds": 1})
    found = zt.get.verdict(lost)
    assert (found.verdict, found.explained_by) == ("zinb", "")
    assert "nb-amplified" not in set(found.rivals["model"])


def test_molecules_are_not_asked_for_their_copies() -> None:
    adata = reads(0.0, 120, 60)
    adata.X = adata.layers["molecules"].copy()
    zt.tl.model_selection(adata, max_epochs=3, **QUICK)
    assert "nb-amplified" not in set(zt.get.rivals_df(adata)["model"])
    assert "reads_per_molecule" not in adata.uns["zinbtools"]["model_selection"]
