"""Verdict and calls where something else than dropout makes the zeros, and where dropout does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import zinbtools as zt


def made(theta_sd: float, dropout: float, seed: int = 1, only_in: int | None = None) -> AnnData:
    """Counts of four types, 1,200 x 120; the log of the inverse dispersion varies by gene and type.

    Dropout is in all cells or in those of one type.
    """
    random = np.random.default_rng(seed)
    kind, sex = random.integers(0, 4, 1200), random.integers(0, 2, 1200)
    effect = np.exp(random.normal(0, 0.7, (4, 120)))
    mean = random.lognormal(0, 0.3, (1200, 1)) * np.geomspace(0.3, 30, 120) * effect[kind]
    theta = np.exp(random.normal(0.5, theta_sd, (4, 120)))[kind]
    lost = dropout if only_in is None else dropout * (kind == only_in)[:, None]
    counts = random.poisson(random.gamma(theta, mean / theta)) * (random.random(mean.shape) >= lost)
    counts[:, 70] = counts[:, 70] * sex
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs["dispersion"] = pd.Categorical(np.where(sex == 1, "f", "m"))  # a name that is an explanation
    zt.tl.model_selection(adata, n_restarts=3, folds=1, n_samples=50, progress=False)
    return adata


@pytest.fixture(scope="module")
def dispersed() -> AnnData:
    return made(1.2, 0.0)


@pytest.mark.slow
def test_a_dispersion_by_type_is_no_zero_inflation(dispersed: AnnData) -> None:
    found = zt.get.verdict(dispersed)
    assert (found.verdict, found.explained_by) == ("better fit, not zero inflation", "dispersion")
    rivals = zt.get.rivals_df(dispersed).set_index("model")
    assert rivals.loc["nb", "zinb_position"] == "above"
    assert rivals.loc["nb-gene-cell", "gain_low"] > rivals.loc["nb", "zinb_high"]
    assert rivals.loc["nb-gene-cell", "zinb_position"] != "above"
    assert "beyond what the dispersion explains" in found.sentence
    called = dispersed.var["zi_call"] == "zero-inflated"
    assert called.sum() == called.iloc[70] <= 1
    assert (dispersed.var["zi_explained_by"] == "dispersion").sum() > 5


@pytest.mark.slow
def test_a_column_that_tells_the_zeros_is_named(dispersed: AnnData) -> None:
    gene = dispersed.var.iloc[70]
    assert (gene["zi_call"], gene["zi_explained_by"], gene["zi_on_in"]) == (
        "zero-inflated",
        "obs['dispersion']",
        "f",
    )
    said = zt.get.verdict(dispersed).sentence
    assert "The zeros of 70 follow obs['dispersion'] (70 is on in 'f' only): give it as a covariate." in said
    assert "None of 120 genes is zero-inflated by itself." in said


@pytest.mark.slow
def test_dropout_survives_its_rivals() -> None:
    adata = made(0.0, 0.15)
    found = zt.get.verdict(adata)
    assert (found.verdict, found.explained_by) == ("zinb", "")
    assert found.rivals["zinb_position"].tolist() == ["above", "above"]
    assert found.rivals["excess_zeros"].all()
    assert "the dispersion does not explain them" in found.sentence
    assert (adata.var["zi_call"] == "zero-inflated").sum() > 30


@pytest.mark.slow
def test_dropout_in_one_type_is_no_dispersion() -> None:
    """The dispersion of that type could be larger as well, but the genes agree that it is the dropout."""
    adata = made(0.0, 0.25, only_in=0)
    found = zt.get.verdict(adata)
    assert (found.verdict, found.explained_by) == ("zinb", "")
    called = adata.var["zi_call"] == "zero-inflated"
    assert called.sum() > 15
    shares = adata.var.loc[called, "zi_dropout"]  # averages over all cells
    assert 0.03 < shares.median() < 0.12


def followers(dropout: float) -> AnnData:
    """Counts of 800 cells x 40 genes in two groups, and a column of its own for each of eight genes.

    Without dropout each of the eight is on only where its column says so; otherwise none follows any.
    """
    random = np.random.default_rng(3)
    mean = random.lognormal(0, 0.3, (800, 1)) * np.geomspace(1, 12, 40)
    told = random.integers(0, 2, (800, 8))
    on = (random.random(mean.shape) >= dropout).astype(float)
    if not dropout:
        on[:, np.linspace(20, 39, 8).astype(int)] = told
    counts = random.poisson(random.gamma(2, mean / 2)) * on
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs = pd.DataFrame(np.where(told, "a", "b"), adata.obs_names, [f"allele {k}" for k in range(8)])
    adata.obs["group"] = pd.Categorical(np.arange(800) % 2)
    return adata


@pytest.mark.slow
def test_columns_that_tell_the_zeros_of_many_genes_explain_the_gain() -> None:
    adata = followers(0.0)
    zt.tl.model_selection(adata, n_restarts=3, folds=1, n_samples=50, progress=False)
    found = zt.get.verdict(adata)
    assert (found.verdict, found.explained_by) == ("better fit, not zero inflation", "covariate")
    told = adata.var["zi_explained_by"].astype(str)
    named = told[told.str.startswith("obs[")]
    assert len(named) >= 6
    genes = dict(zip(np.linspace(20, 39, 8).astype(int).astype(str), range(8), strict=True))
    assert all(column == f"obs['allele {genes[gene]}']" for gene, column in named.items())
    assert "Without these genes there is no excess of zeros beyond chance." in found.sentence


@pytest.mark.slow
def test_neither_groups_nor_columns_explain_dropout() -> None:
    adata = followers(0.2)
    zt.tl.model_selection(adata, n_restarts=3, folds=1, n_samples=50, groupby="group", progress=False)
    found = zt.get.verdict(adata)
    assert (found.verdict, found.explained_by) == ("zinb", "")
    assert (adata.var["zi_call"] == "zero-inflated").sum() > 20
    assert not adata.var["zi_explained_by"].astype(str).str.startswith("obs[").any()
