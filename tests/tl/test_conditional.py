"""`zi_scores` given the cell state: calls on data of known truth, their numbers by hand, and what is kept."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same_anndata
from scipy import stats

import zinbtools as zt
from zinbtools.stats.zero_inflation import Call


def made(share: float, seed: int = 0, n_obs: int = 1500) -> AnnData:
    means = 10 ** np.random.default_rng(seed).uniform(-2, 1.5, 120)
    base = zt.simulate.gamma_poisson(n_obs, 120, means=means, rng=seed)
    adata = zt.simulate.mixed(share, base=base, inflation=zt.simulate.Uniform(0.2), rng=seed)
    adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() > 0].copy()
    zt.tl.fit_nb_zinb(adata, models="nb", progress=False)
    return adata


@pytest.fixture(scope="module")
def _mixed() -> AnnData:
    adata = made(0.4)
    zt.tl.zi_scores(adata)
    return adata


@pytest.fixture
def mixed(_mixed: AnnData) -> AnnData:
    return _mixed.copy()


@pytest.mark.slow
def test_nothing_is_called_without_inflation() -> None:
    adata = made(0.0, seed=1)
    zt.tl.zi_scores(adata)
    call = adata.var["zi_call"]
    assert (call == "zero-inflated").sum() == 0
    mean = np.asarray(adata.X.mean(axis=0)).ravel()
    assert (adata.var["zi_dropout_high"][mean > 3] < 0.1).mean() > 0.9
    assert (call[mean > 20] == "negligible").mean() > 0.5
    assert (call[mean < 0.05] == "undecided").all()


def test_inflated_genes_are_found_and_others_are_not(mixed: AnnData) -> None:
    truth, call = mixed.var["is_zero_inflated"].to_numpy(), mixed.var["zi_call"].to_numpy()
    mean = np.asarray(mixed.X.mean(axis=0)).ravel()
    assert (call[truth & (mean > 3)] == "zero-inflated").all()
    assert (call[~truth] == "zero-inflated").mean() < 0.03
    found = truth & (call == "zero-inflated")
    np.testing.assert_allclose(mixed.var["zi_dropout"][found & (mean > 3)], 0.2, atol=0.06)


def test_excess_zeros_are_the_lost_counts(mixed: AnnData) -> None:
    mean = np.asarray(mixed.X.mean(axis=0)).ravel()
    genes = mixed.var["is_zero_inflated"].to_numpy() & (mean > 3)
    zero = mixed.X.toarray() == 0
    lost = zero & (mixed.layers["true_counts"].toarray() > 0)
    share = lost[:, genes].sum(axis=0) / zero[:, genes].sum(axis=0)
    np.testing.assert_allclose(mixed.var["zi_excess_zeros"][genes], share, atol=0.2)
    assert np.abs(mixed.var["zi_excess_zeros"][genes] - share).mean() < 0.05


@pytest.mark.parametrize("negligible", [0.0, 0.01])
def test_columns_fit_together(mixed: AnnData, negligible: float) -> None:
    zt.tl.zi_scores(mixed, negligible_dropout=negligible)
    var, n = mixed.var, mixed.n_obs
    ratio = 2 * n * var["zi_score"]
    expected = np.where(ratio > 1e-9, stats.chi2.sf(ratio, 1) / 2, 1)
    once = expected > 0.05  # the others may have been tested again, with a dispersion by the state
    if negligible:
        assert (var["zi_pval"][once] >= expected[once] * (1 - 1e-3)).all()
        assert (var["zi_pval"][once & (var["zi_dropout"] <= negligible)] == 1).all()
    else:
        np.testing.assert_allclose(var["zi_pval"][once], expected[once], rtol=1e-3)
    tested = np.asarray((mixed.X > 0).sum(axis=0)).ravel() >= 20
    assert 0 < tested.sum() < len(var)
    adjusted = stats.false_discovery_control(var["zi_pval"][tested])
    np.testing.assert_allclose(var["zi_pval_adj"][tested], adjusted)
    assert var["zi_pval_adj"][~tested].isna().all()
    assert list(var["zi_call"].cat.categories) == list(Call)
    np.testing.assert_array_equal(var["zi_call"] == "zero-inflated", var["zi_pval_adj"] <= 0.05)
    settled = tested & (var["zi_pval_adj"] > 0.05) & (var["zi_dropout_high"] <= negligible)
    np.testing.assert_array_equal(var["zi_call"] == "negligible", settled)
    inside = (var["zi_dropout_low"] <= var["zi_dropout"]) & (var["zi_dropout"] <= var["zi_dropout_high"])
    assert inside[tested].all()


def test_a_few_zeros_too_many_are_no_zero_inflation() -> None:
    """Of 4,000 cells with 40 counts in each gene, 16 lose theirs: beyond doubt, and of no account."""
    adata = zt.simulate.gamma_poisson(4000, 10, means=np.full(10, 40.0), n_types=1, rng=0)
    adata = zt.simulate.knockout(adata, zt.simulate.Uniform(0.004), share=1.0, rng=0)
    zt.tl.fit_nb_zinb(adata, models="nb", max_epochs=5, progress=False)
    for negligible, call, family in ((0.0, Call.ZERO_INFLATED, "zinb"), (0.01, Call.NEGLIGIBLE, "nb")):
        zt.tl.zi_scores(adata, negligible_dropout=negligible)
        zt.tl.zero_test(adata, negligible_dropout=negligible)
        assert (adata.var["zi_call"] == call).mean() >= 0.8
        assert (zt.get.zero_test_df(adata)["family"] == family).mean() >= 0.8


@pytest.mark.parametrize("count", [30, 10_000])
def test_genes_of_a_few_rare_cells_are_undecided(count: int) -> None:
    """One to three of 300 cells have much of a gene, and the NB's part fits these counts exactly."""
    random = np.random.default_rng(count)
    rare = np.zeros((300, 30))
    for gene in range(30):
        rare[random.choice(300, 1 + gene % 3, replace=False), gene] = random.poisson(count, 1 + gene % 3)
    base = zt.simulate.gamma_poisson(300, 40, means=np.geomspace(1, 20, 40), rng=0)
    adata = AnnData(np.hstack([base.X.toarray(), rare]).astype(np.float32))
    zt.tl.fit_nb_zinb(adata, models="nb", max_epochs=10, progress=False)
    zt.tl.zi_scores(adata)
    zt.tl.zero_test(adata)
    assert (adata.var["zi_pval"][40:] <= 0.05).mean() > 0.5  # which no call rests on
    assert (adata.var["zi_call"][40:] == "undecided").all()
    assert not zt.get.zero_test_df(adata)["family"][40:].isin(["zip", "zinb"]).any()
    classes = zt.get.zi_genes_df(adata)["class"].loc[adata.var_names[40:]]
    assert not classes.str.startswith("zero-inflated").any()
    zt.tl.zi_replication(adata)
    called = zt.get.zi_replication_df(adata, by="gene").query("n_called > 0").index
    assert not set(called) & set(adata.var_names[40:])


def test_layers_are_not_needed(mixed: AnnData) -> None:
    other = mixed.copy()
    del other.layers["nb_mean"]
    zt.tl.zi_scores(other)
    np.testing.assert_allclose(other.var["zi_score"], mixed.var["zi_score"], rtol=1e-5, atol=1e-9)


def test_a_dropout_that_may_be_larger_is_negligible_in_more_genes(mixed: AnnData) -> None:
    zt.tl.zi_scores(mixed, negligible_dropout=0.005)
    few = (mixed.var["zi_call"] == "negligible").sum()
    zt.tl.zi_scores(mixed, negligible_dropout=0.09)
    assert few < (mixed.var["zi_call"] == "negligible").sum()


@pytest.mark.slow
def test_the_power_is_what_happens() -> None:
    """NB counts that lose a tenth: the test around known means finds as many as the calculation says."""
    from zinbtools.stats.count_models import fit_counts
    from zinbtools.stats.zero_inflation import boundary_pval, likelihood_ratio, power

    random, n, copies = np.random.default_rng(0), 2000, 150
    depth = random.lognormal(0, 0.4, n)
    for mean in (0.6, 1.2, 2.0):
        mu = np.repeat(depth[:, None] * mean, copies, axis=1)
        null = random.poisson(random.gamma(2.0, mu / 2.0))
        inflated = null * (random.random(mu.shape) >= 0.1)
        predicted = power(fit_counts(null, depth).information, 0.1, 0.05).mean()
        fits = fit_counts(inflated, depth)
        found = (boundary_pval(likelihood_ratio(fits, "nb", "zinb")) <= 0.05).mean()
        assert found == pytest.approx(predicted, abs=0.12), mean


def test_masked_genes_and_a_key(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, models="nb", progress=False, mask_var="even", key_added="run")
    zt.tl.zi_scores(counts, key="run")
    for name in ("score", "pval", "dropout", "power", "call"):
        np.testing.assert_array_equal(counts.var[f"run_zi_{name}"].notna(), counts.var["even"])
    assert len(zt.get.zi_genes_df(counts, key="run")) == counts.var["even"].sum()


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")  # anndata 0.12 says so of its default
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_files_keep_it(mixed: AnnData, suffix: str, tmp_path: Path) -> None:
    zt.tl.zero_test(mixed, families=["nb", "zinb"])
    path = tmp_path / f"a.{suffix}"
    getattr(mixed, "write_h5ad" if suffix == "h5ad" else "write_zarr")(path)
    read = anndata.read_h5ad(path) if suffix == "h5ad" else anndata.read_zarr(path)
    assert_same_anndata(read, mixed)
    first, second = (zt.get.zi_genes_df(a).astype({"call": str, "class": str}) for a in (mixed, read))
    pd.testing.assert_frame_equal(first.reset_index(), second.reset_index(), check_dtype=False)


def test_a_copy_leaves_the_object_alone(mixed: AnnData) -> None:
    before = mixed.copy()
    zt.tl.zi_scores(mixed, alpha=0.2, copy=True)
    assert_same_anndata(mixed, before)


def test_the_nb_is_needed(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, models="zinb", progress=False)
    with pytest.raises(ValueError, match="'conditional' needs the NB model"):
        zt.tl.zi_scores(counts)
