from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData
from pln import pln_zero_fraction
from scipy import sparse

from zinbtools.simulate import beta_poisson, gamma_poisson, poisson_lognormal

BASES = [gamma_poisson, poisson_lognormal, beta_poisson]
PLAIN: dict[str, Any] = {"n_types": 1, "library_sd": 0.0, "n_obs": 40_000, "n_vars": 4}
Base = Callable[..., AnnData]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("n_vars", [100, 1000])
def test_counts_are_as_sparse_as_real_ones(base: Base, n_vars: int) -> None:
    adata = base(1000, n_vars, n_batches=2)
    assert 0.85 < 1 - adata.X.nnz / np.prod(adata.shape) < 0.97
    assert adata.var["mean"].min() == pytest.approx(0.005)
    assert adata.var["mean"].max() == pytest.approx(100)
    sizes = np.asarray(adata.X.sum(axis=1)).ravel()
    assert np.quantile(sizes, 0.95) > 3 * np.quantile(sizes, 0.05)


@pytest.mark.parametrize("base", BASES)
def test_nothing_is_inflated_and_everything_is_told(base: Base) -> None:
    adata = base(300, 50, n_types=3, n_batches=2)
    assert sparse.issparse(adata.X)
    assert (adata.X.format, adata.X.dtype) == ("csr", np.float32)
    assert (adata.layers["true_counts"] != adata.X).nnz == 0
    assert adata.var["is_zero_inflated"].tolist() == [False] * 50
    assert set(adata.obs["cell_type"].cat.categories) == {"type_0", "type_1", "type_2"}
    assert adata.obs["batch"].value_counts().tolist() == [150, 150]
    assert adata.obs["library_size"].mean() == pytest.approx(1)
    assert adata.varm["log_type_effect"].shape == (50, 3)
    assert adata.varm["log_batch_effect"].shape == (50, 2)
    assert adata.uns["simulation"]["simulator"] == base.__name__


@pytest.mark.parametrize("base", BASES)
def test_gene_means_are_those_asked_for(base: Base) -> None:
    means = np.array([0.5, 2.0, 8.0, 30.0])
    counts = base(30_000, 4, means=means, n_batches=2).X.toarray()
    assert (np.abs(counts.mean(axis=0) - means) < 5 * counts.std(axis=0) / np.sqrt(30_000)).all()


def test_gamma_poisson_counts_are_negative_binomial() -> None:
    means, theta = np.array([0.3, 2.0, 5.0, 20.0]), np.array([0.5, 1.0, 4.0, 2.0])
    counts = gamma_poisson(means=means, inverse_dispersion=theta, **PLAIN).X.toarray()
    np.testing.assert_allclose(counts.var(axis=0), means + means**2 / theta, rtol=0.06)
    zeros = (theta / (theta + means)) ** theta
    error = np.sqrt(zeros * (1 - zeros) / len(counts))
    assert (np.abs((counts == 0).mean(axis=0) - zeros) < 4.5 * error).all()


def test_poisson_lognormal_counts_have_their_moments_and_correlations() -> None:
    means, sd = np.array([1.0, 2.0, 5.0, 20.0]), np.array([0.3, 0.5, 0.7, 0.6])
    adata = poisson_lognormal(means=means, log_sd=sd, n_factors=2, factor_share=0.8, **PLAIN)
    counts = adata.X.toarray()
    np.testing.assert_allclose(counts.var(axis=0), means + means**2 * np.expm1(sd**2), rtol=0.06)
    zeros = pln_zero_fraction(np.log(means) - sd**2 / 2, sd**2)
    error = np.sqrt(zeros * (1 - zeros) / len(counts))
    assert (np.abs((counts == 0).mean(axis=0) - zeros) < 4.5 * error).all()
    shared = adata.varm["loadings"] @ adata.varm["loadings"].T
    np.testing.assert_allclose(np.diag(shared), 0.8 * sd**2)
    covariance = np.cov(counts.T)[np.triu_indices(4, 1)]
    expected = (np.outer(means, means) * np.expm1(shared))[np.triu_indices(4, 1)]
    np.testing.assert_allclose(covariance, expected, atol=0.06 * np.abs(expected).max())


def test_bursts_have_two_modes_where_the_promoter_is_slow() -> None:
    adata = beta_poisson(4000, 40, means=np.full(40, 30.0), bimodal_share=0.5, n_types=1, library_sd=0)
    counts, bimodal = adata.X.toarray(), adata.var["is_bimodal"].to_numpy()
    assert bimodal.sum() == 20
    few, medium = ((counts > low).mean(axis=0) - (counts > low + 10).mean(axis=0) for low in (-1, 9))
    assert (few[bimodal] > 1.5 * medium[bimodal]).all()
    assert (few[~bimodal] < 1.5 * medium[~bimodal]).all()
    # The upper mode lies where the promoter is always on: at (k_on + k_off) / k_on times the mean.
    on, off = adata.var["k_on"].to_numpy(), adata.var["k_off"].to_numpy()
    top = 30 * (on + off) / on
    middle, upper = (
        ((counts > (share - 0.1) * top) & (counts <= (share + 0.1) * top)).mean(axis=0)
        for share in (0.5, 0.95)
    )
    assert (upper[bimodal] > middle[bimodal]).all()
    assert (upper[~bimodal] <= middle[~bimodal]).all()


def test_types_libraries_and_batches_do_what_they_say() -> None:
    adata = gamma_poisson(20_000, 60, means=np.full(60, 20.0), n_types=2, n_batches=2, batch_sd=0.5, rng=2)
    counts = adata.X.toarray() / adata.obs["library_size"].to_numpy()[:, None]
    for key, effect in (("batch", "log_batch_effect"), ("cell_type", "log_type_effect")):
        first, second = (counts[adata.obs[key].cat.codes == code].mean(axis=0) for code in (0, 1))
        told = adata.varm[effect][:, 1] - adata.varm[effect][:, 0]
        assert np.corrcoef(np.log(second / first), told)[0, 1] > 0.99
        assert np.std(np.log(second / first) - told) < 0.1
    assert 0.1 < (adata.varm["log_type_effect"] != 0).any(axis=1).mean() < 0.5
    one_batch = gamma_poisson(50, 10)
    assert (one_batch.varm["log_batch_effect"] == 0).all()


@pytest.mark.parametrize("base", BASES)
def test_seeds(base: Base) -> None:
    first = base(50, 20, rng=5).X
    for seed in (np.random.default_rng(5), np.random.SeedSequence(5)):
        assert (first != base(50, 20, rng=seed).X).nnz == 0
    assert (first != base(50, 20, rng=6).X).nnz > 0


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@pytest.mark.parametrize("base", BASES)
def test_files_keep_everything(tmp_path: Path, base: Base, form: str) -> None:
    adata = base(20, 10)
    getattr(adata, f"write_{form}")(tmp_path / "x")
    back = getattr(anndata, f"read_{form}")(tmp_path / "x")
    assert (back.X != adata.X).nnz == 0
    assert back.var.equals(adata.var)
    assert back.obs.equals(adata.obs)
    assert back.uns["simulation"] == adata.uns["simulation"]
    assert back.uns["inflation"] == adata.uns["inflation"]


@pytest.mark.parametrize(
    ("base", "settings", "error", "message"),
    [
        (gamma_poisson, {"n_obs": 0}, ValueError, "n_obs must be a whole number of at least 1.*found 0"),
        (
            gamma_poisson,
            {"n_vars": 2.5},
            TypeError,
            "n_vars must be a whole number of at least 1.*found 2.5",
        ),
        (gamma_poisson, {"n_types": 0}, ValueError, "n_types must be a whole number of at least 1"),
        (
            gamma_poisson,
            {"library_sd": -1},
            ValueError,
            "library_sd must be a finite number of at least 0, found -1",
        ),
        (
            gamma_poisson,
            {"means": [1.0, 2.0]},
            ValueError,
            r"means must be one number or have shape \(500,\)",
        ),
        (gamma_poisson, {"means": -1}, ValueError, "means must be finite and above 0, found -1.0"),
        (
            gamma_poisson,
            {"inverse_dispersion": 0},
            ValueError,
            "inverse_dispersion must be finite and above 0",
        ),
        (gamma_poisson, {"means": 1e8, "n_obs": 5, "n_vars": 2}, ValueError, "expected counts below 8388608"),
        (poisson_lognormal, {"n_factors": 0}, ValueError, "n_factors must be a whole number of at least 1"),
        (poisson_lognormal, {"factor_share": 1.5}, ValueError, "factor_share must be a number from 0 to 1"),
        (beta_poisson, {"bimodal_share": -1}, ValueError, "bimodal_share must be a number from 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(
    base: Base, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        base(**settings)
