from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData

from zinbtools.simulate import zisynth
from zinbtools.simulate._parameters import builtin_parameters, fit_builtin_parameters, read_parameters
from zinbtools.stats.pln import pln_zero_fraction

GOOD: dict[str, Any] = {"mu_0": [0.0, 1], "sigma_0": np.eye(2), "mu_2": [1.0, 2], "sigma_2": np.eye(2)}


@pytest.fixture(scope="module")
def cortex(shared_data: Path) -> AnnData:
    return anndata.read_h5ad(shared_data / "data" / "cortex_zeisel2015.h5ad")


@pytest.fixture(scope="module")
def refitted(cortex: AnnData) -> dict[str, Any]:
    return fit_builtin_parameters(cortex)


def test_the_shipped_parameters_are_those_of_the_fit(refitted: dict[str, Any]) -> None:
    shipped = builtin_parameters()
    assert shipped.keys() == refitted.keys()
    for name, array in shipped.items():
        np.testing.assert_allclose(array, refitted[name], rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(("cell_type", "name"), [("0", "oligodendrocytes"), ("2", "pyramidal CA1")])
def test_a_draw_is_a_twin_of_the_real_cells(
    cortex: AnnData, refitted: dict[str, Any], cell_type: str, name: str
) -> None:
    twins = zisynth(p=0, n_obs=20_000)
    twins = twins[twins.obs["cell_type"] == cell_type].X.toarray().astype(float)
    cells = cortex[cortex.obs["cell_type"] == name].X.toarray().astype(float)
    # The genes are not named in the file: their means tell which ones they are.
    means = np.exp(refitted[f"mu_{cell_type}"] + np.diag(refitted[f"sigma_{cell_type}"]) / 2)
    gap = np.abs(cells.mean(axis=0) - means[:, None])
    assert gap.min(axis=1).max() < 1e-9
    real = cells[:, gap.argmin(axis=1)]

    np.testing.assert_allclose(twins.mean(axis=0), real.mean(axis=0), rtol=0.06)
    np.testing.assert_allclose(twins.var(axis=0), real.var(axis=0), rtol=0.25)
    assert abs(np.log(twins.var(axis=0) / real.var(axis=0)).mean()) < 0.05
    zeros, real_zeros = (twins == 0).mean(axis=0), (real == 0).mean(axis=0)
    assert np.abs(zeros - real_zeros).max() < 0.03
    assert abs(zeros.mean() - real_zeros.mean()) < 0.012
    assert np.corrcoef(zeros, real_zeros)[0, 1] > 0.95
    # What all genes share, the depth of a cell, and what pairs of genes share.
    depth, real_depth = twins.sum(axis=1), real.sum(axis=1)
    assert depth.std() / depth.mean() == pytest.approx(real_depth.std() / real_depth.mean(), rel=0.05)
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu_2": [1.0]}, r"params\['mu_2'\] must have shape \(2,\) to go with mu_0.*found \(1,\)"),
        ({"sigma_0": np.eye(3)}, r"params\['sigma_0'\] must have shape \(2, 2\).*found \(3, 3\)"),
        ({"mu_0": [[0.0, 1]]}, r"params\['mu_0'\] must have shape \(2,\).*found \(1, 2\)"),
        ({"sigma_0": [[1, np.inf], [np.inf, 1]]}, r"params\['sigma_0'\] has 2 values that are not finite"),
        ({"mu_2": [0, np.nan]}, r"params\['mu_2'\] has 1 values that are not finite"),
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
    with pytest.raises(TypeError, match="params must be a mapping.*found list"):
        read_parameters([1, 2])  # type: ignore[arg-type]
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(ValueError, match="must name an npz archive, found another file at"):
        read_parameters(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError):
        read_parameters(tmp_path / "absent.npz")
