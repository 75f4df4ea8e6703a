from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData
from pln import pln_zero_fraction
from zisynth_fit import builtin_cells, fit_builtin_parameters

from zinbtools.simulate import zisynth
from zinbtools.simulate._parameters import builtin_parameters, read_parameters

GOOD: dict[str, Any] = {"mu_0": [0.0, 1], "sigma_0": np.eye(2), "mu_2": [1.0, 2], "sigma_2": np.eye(2)}


@pytest.fixture(scope="module")
def cortex(shared_data: Path) -> AnnData:
    return anndata.read_h5ad(shared_data / "data" / "cortex_zeisel2015.h5ad")


def test_the_shipped_parameters_are_those_of_the_fit(cortex: AnnData) -> None:
    shipped, refitted = builtin_parameters(), fit_builtin_parameters(cortex)
    assert shipped.keys() == refitted.keys()
    for name, array in shipped.items():
        np.testing.assert_allclose(array, refitted[name], rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("cell_type", ["0", "2"])
def test_a_draw_is_a_twin_of_the_real_cells(cortex: AnnData, cell_type: str) -> None:
    real = builtin_cells(cortex)[cell_type]
    drawn = zisynth(p=0, n_obs=20_000)
    twins = drawn[drawn.obs["cell_type"] == cell_type].X.toarray().astype(float)

    # The fit has the moments of the cells, so a draw has them to within its own Monte Carlo error. Heavy
    # tails make that of the variances larger than it looks, hence six of them.
    deviations = (twins - twins.mean(axis=0)) ** 2
    mean_error, variance_error = (x.std(axis=0) / np.sqrt(len(twins)) for x in (twins, deviations))
    assert (np.abs(twins.mean(axis=0) - real.mean(axis=0)) < 4.5 * mean_error).all()
    assert (np.abs(twins.var(axis=0) - real.var(axis=0)) < 6 * variance_error).all()
    assert np.median(mean_error / real.mean(axis=0)) < 0.02
    assert np.median(variance_error / real.var(axis=0)) < 0.1
    # The shares of zeros are no part of the fit.
    zeros, real_zeros = (twins == 0).mean(axis=0), (real == 0).mean(axis=0)
    assert np.abs(zeros - real_zeros).max() < 0.04
    assert abs(zeros.mean() - real_zeros.mean()) < 0.012
    assert np.corrcoef(zeros, real_zeros)[0, 1] > 0.95
    # What all genes share, the depth of a cell, and what pairs of genes share.
    depth, real_depth = twins.sum(axis=1), real.sum(axis=1)
    assert depth.std() / depth.mean() == pytest.approx(real_depth.std() / real_depth.mean(), rel=0.1)
    pairs = np.triu_indices(50, 1)
    correlation, real_correlation = np.corrcoef(twins.T)[pairs], np.corrcoef(real.T)[pairs]
    assert np.sqrt(np.mean((correlation - real_correlation) ** 2)) < 0.03


def test_zeros_before_dropout_follow_from_the_parameters() -> None:
    parameters = builtin_parameters()
    expected = sum(
        share * pln_zero_fraction(parameters[f"mu_{t}"], np.diag(parameters[f"sigma_{t}"]))
        for t, share in (("0", 0.3), ("2", 0.7))
    )
    zeros = zisynth(p=0, n_obs=20_000).X.toarray() == 0
    error = np.sqrt(expected * (1 - expected) / 20_000)
    assert (np.abs(zeros.mean(axis=0) - expected) < 4.5 * error).all()


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_file_and_a_mapping_say_the_same(tmp_path: Path, as_type: type) -> None:
    path = tmp_path / "params.npz"
    np.savez(path, **GOOD)
    from_file = read_parameters(as_type(path))
    with np.load(path) as arrays:
        from_archive = read_parameters(arrays)
    for name, array in read_parameters(GOOD).items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(from_file[name], array)
        np.testing.assert_array_equal(from_archive[name], array)


def test_single_precision_of_a_nearly_singular_covariance_is_tolerated() -> None:
    loadings = np.random.default_rng(0).normal(size=(40, 3))
    sigma = (loadings @ loadings.T).astype(np.float32)
    assert np.linalg.eigvalsh(sigma.astype(np.float64))[0] < 0
    params = {"mu_0": np.zeros(40), "mu_2": np.zeros(40), "sigma_0": sigma, "sigma_2": sigma}
    assert zisynth(params=params, n_obs=5).n_vars == 40


def test_an_asymmetry_of_rounding_is_evened_out() -> None:
    sigma = read_parameters({**GOOD, "sigma_0": [[1, 0.5], [0.5 + 1e-9, 1]]})["sigma_0"]
    np.testing.assert_array_equal(sigma, sigma.T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu_2": [1.0]}, r"params\['mu_2'\] must have shape \(2,\) to go with mu_0.*found \(1,\)"),
        ({"sigma_0": np.eye(3)}, r"params\['sigma_0'\] must have shape \(2, 2\).*found \(3, 3\)"),
        ({"mu_0": [[0.0, 1]]}, r"params\['mu_0'\] must have shape \(2,\).*found \(1, 2\)"),
        ({"sigma_0": [[1, np.inf], [np.inf, 1]]}, r"params\['sigma_0'\] must be finite, found 2 of 4 values"),
        ({"mu_2": [0, np.nan]}, r"params\['mu_2'\] must be finite, found 1 of 2 values"),
        (
            {"sigma_2": [[1, 0.5], [0.4, 1]]},
            r"params\['sigma_2'\] must be symmetric, found entries 0.1 apart",
        ),
        ({"sigma_2": [[1, 2], [2, 1]]}, r"params\['sigma_2'\] must be positive semi-definite.*eigenvalue -1"),
        ({"sigma_0": -np.eye(2)}, r"params\['sigma_0'\] must be positive semi-definite"),
    ],
)
def test_arrays_that_are_no_parameters_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zisynth(params={**GOOD, **change})


def test_no_gene_is_refused() -> None:
    nothing = {"mu_0": [], "sigma_0": np.empty((0, 0)), "mu_2": [], "sigma_2": np.empty((0, 0))}
    with pytest.raises(ValueError, match="at least one gene"):
        read_parameters(nothing)


def test_missing_arrays_are_named() -> None:
    with pytest.raises(KeyError, match="params lacks sigma_0, mu_2; it needs mu_0, sigma_0, mu_2, sigma_2"):
        read_parameters({"mu_0": [1.0], "sigma_2": [[1.0]]})


def test_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"params must be a mapping.*found \[1, 2\]"):
        zisynth(params=[1, 2])  # type: ignore[arg-type]
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(ValueError, match="must name an npz archive, found another file at"):
        read_parameters(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError):
        read_parameters(tmp_path / "absent.npz")
