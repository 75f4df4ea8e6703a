from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from zinbtools.simulate import zisynth
from zinbtools.simulate._parameters import builtin_parameters

LAMBDAS = (0, 0.001, 0.01, 0.1, 1, 10)
SMALL: dict[str, NDArray[np.float64]] = {
    "mu_0": np.array([0.0, 1.0]),
    "sigma_0": np.array([[1.0, 0.5], [0.5, 1.0]]),
    "mu_2": np.array([2.0, 2.0]),
    "sigma_2": np.zeros((2, 2)),
}


def dense(adata: AnnData) -> tuple[NDArray[Any], NDArray[Any]]:
    """Counts and counts before dropout."""
    return adata.X.toarray(), adata.layers["true_counts"].toarray()


# ------------------------------------------------------------------ the study's sets


@pytest.fixture(scope="module")
def study_sets(shared_data: Path) -> list[AnnData]:
    """One set per lambda with the authors' parameters, each with a seed of its own."""
    path = shared_data / "reference" / "pln_params.npz"
    return [zisynth(lam, params=path, rng=seed) for seed, lam in enumerate(LAMBDAS)]


def test_zeros_before_dropout_are_those_of_the_study(study_sets: list[AnnData]) -> None:
    fractions = [(adata.layers["true_counts"].toarray() == 0).mean() for adata in study_sets]
    # A cell's share of zeros has a standard deviation of 3.8 points, hence an error of 0.035 points in a
    # set of 12,000 cells, 0.014 in our six together and 0.02 in the three of the reference.
    assert np.mean(fractions) == pytest.approx(0.0595, abs=4 * 0.00025)
    assert fractions == pytest.approx([0.0595] * 6, abs=4 * 0.0004)


@pytest.mark.parametrize(
    ("which", "dropout_zeros", "zero_percent"),
    [(0, 44_900, 13.4), (1, 26_000, 10.3), (2, 12_500, 8.0), (3, 4_500, 6.7), (4, 900, 6.1), (5, 0, 6.0)],
)
def test_dropout_is_that_of_the_study(
    study_sets: list[AnnData], which: int, dropout_zeros: int, zero_percent: float
) -> None:
    observed, true = dense(study_sets[which])
    lost = ((true > 0) & (observed == 0)).sum(axis=1)
    # The cells are independent; their spread is the Monte Carlo error, of ours and of the reference
    # (3 sets), which is printed to the nearest hundred.
    error = lost.std() * np.sqrt(lost.size) * np.sqrt(1 + 1 / 3)
    assert abs(lost.sum() - dropout_zeros) < 4 * error + 50
    assert error < max(0.02 * dropout_zeros, 50)
    zeros = (observed == 0).mean(axis=1)
    error = zeros.std() / np.sqrt(zeros.size) * np.sqrt(1 + 1 / 3)
    assert abs(100 * zeros.mean() - zero_percent) < 400 * error + 0.05
    assert error < 0.002


def test_counts_are_as_large_as_the_study_s(study_sets: list[AnnData]) -> None:
    true = study_sets[0].layers["true_counts"].toarray()
    assert np.median(true) == pytest.approx(17, abs=1)
    assert true.mean() == pytest.approx(35, rel=0.03)
    assert np.median(true.sum(axis=1)) == pytest.approx(1100, rel=0.1)


# ------------------------------------------------------------------ the generator


def test_the_first_two_moments_are_those_of_the_parameters() -> None:
    adata = zisynth(p=0, n_obs=40_000, params=SMALL, rng=1)
    counts, _ = dense(adata)
    type_0 = counts[(adata.obs["cell_type"] == "0").to_numpy()]
    expected_mean = np.exp(SMALL["mu_0"] + 0.5)
    n = len(type_0)
    assert (np.abs(type_0.mean(0) - expected_mean) < 4 * type_0.std(0) / np.sqrt(n)).all()
    products = (type_0 - type_0.mean(0)).prod(axis=1)
    expected_covariance = expected_mean.prod() * np.expm1(0.5)
    assert abs(products.mean() - expected_covariance) < 4 * products.std() / np.sqrt(n)
    type_2 = counts[(adata.obs["cell_type"] == "2").to_numpy()]
    np.testing.assert_allclose(type_2.mean(0), np.exp(2), rtol=0.02)
    np.testing.assert_allclose(type_2.var(0), np.exp(2), rtol=0.05)


def test_seven_cells_in_ten_are_of_type_2() -> None:
    share = (zisynth(n_obs=20_000, params=SMALL, rng=2).obs["cell_type"] == "2").mean()
    assert share == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 20_000))


@pytest.mark.parametrize("lam", [0.0, 0.01, 0.5])
def test_dropout_follows_the_realised_count(lam: float) -> None:
    observed, true = dense(zisynth(lam, p=0.3, n_obs=40_000, params=SMALL, rng=3))
    assert set(np.unique(observed[observed != true])) <= {0}
    for count in (1, 2, 4, 8):
        lost = observed[true == count] == 0
        expected = 0.3 * np.exp(-lam * count**2)
        assert abs(lost.mean() - expected) < 4.5 * np.sqrt(expected / lost.size) + 1 / lost.size


def test_the_seed_fixes_the_counts_before_dropout_whatever_lambda() -> None:
    sets = [dense(zisynth(lam, n_obs=300, rng=5)) for lam in LAMBDAS]
    lost = [(true > 0) & (observed == 0) for observed, true in sets]
    assert all(np.array_equal(true, sets[0][1]) for _, true in sets)
    assert all((more | less == more).all() for more, less in zip(lost, lost[1:], strict=False))
    assert lost[0].sum() > lost[2].sum() > lost[4].sum()


def test_any_kind_of_seed_gives_the_same_counts_again() -> None:
    first, _ = dense(zisynth(n_obs=100, rng=7))
    for rng in (7, np.int64(7), np.random.SeedSequence(7), np.random.default_rng(7)):
        np.testing.assert_array_equal(dense(zisynth(n_obs=100, rng=rng))[0], first)
    assert not np.array_equal(dense(zisynth(n_obs=100, rng=8))[0], first)


def test_the_seed_goes_along() -> None:
    assert zisynth(n_obs=50, rng=7).uns["zisynth"]["rng"] == "7"


@pytest.mark.parametrize(("lam", "p", "inflated"), [(0.01, 0.08, True), (0, 1, True), (0, 0, False)])
def test_all_genes_are_inflated_unless_nothing_can_be_lost(lam: float, p: float, inflated: bool) -> None:
    adata = zisynth(lam, p=p, n_obs=2000)
    assert adata.var["is_zero_inflated"].tolist() == [inflated] * 50
    assert adata.uns["inflation"] == {"rule": "Exponential", "p": p, "lam": lam, "share": 1.0}
    observed, true = dense(adata)
    expected = np.where(true > 0, p * np.exp(-lam * true.astype(float) ** 2), 0)
    np.testing.assert_allclose(adata.var["expected_dropout"], expected.mean(axis=0), atol=1e-12)
    lost = (true > 0) & (observed == 0)
    assert abs(lost.sum() - expected.sum()) <= 4.5 * np.sqrt((expected * (1 - expected)).sum())


def test_no_dropout_and_nothing_but_dropout() -> None:
    observed, true = dense(zisynth(p=0, n_obs=50))
    np.testing.assert_array_equal(observed, true)
    assert zisynth(p=1, n_obs=50).X.nnz == 0


def test_a_singular_covariance_is_no_obstacle() -> None:
    params = {**SMALL, "sigma_0": np.ones((2, 2)), "sigma_2": np.ones((2, 2)), "mu_0": [8, 8], "mu_2": [8, 8]}
    counts, _ = dense(zisynth(p=0, n_obs=500, params=params))
    # With one common factor both genes have the same rate, so that they differ by Poisson noise only.
    standardised = (counts[:, 0] - counts[:, 1]) / np.sqrt(counts.sum(axis=1))
    assert standardised.std() == pytest.approx(1, abs=0.15)


def test_what_lands_in_the_anndata(tmp_path: Path) -> None:
    adata = zisynth(0.1, p=0.2, n_obs=30, rng=11)
    assert adata.shape == (30, 50)
    assert adata.obs_names[[0, -1]].tolist() == ["cell_00", "cell_29"]
    assert adata.var_names[[0, -1]].tolist() == ["gene_00", "gene_49"]
    assert adata.obs["cell_type"].cat.categories.tolist() == ["0", "2"]
    for matrix in (adata.X, adata.layers["true_counts"]):
        assert sparse.issparse(matrix)
        assert (matrix.format, matrix.dtype) == ("csr", np.float32)
        assert (matrix.data > 0).all()
        np.testing.assert_array_equal(matrix.data, np.round(matrix.data))
    how = adata.uns["zisynth"]
    assert {k: v for k, v in how.items() if k != "params"} == {
        "lam": 0.1,
        "p": 0.2,
        "n_obs": 30,
        "probability_of_type_2": 0.7,
        "rng": "11",
    }
    again = zisynth(how["lam"], p=how["p"], n_obs=how["n_obs"], params=how["params"], rng=int(how["rng"]))
    np.testing.assert_array_equal(dense(again)[0], dense(adata)[0])


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@pytest.mark.parametrize("rng", [3, np.random.default_rng(3), np.random.SeedSequence(3)], ids=type)
def test_files_keep_everything(tmp_path: Path, form: str, rng: Any) -> None:
    adata = zisynth(n_obs=20, params=SMALL, rng=rng)
    path = tmp_path / f"counts.{form}"
    getattr(adata, f"write_{form}")(path)
    back = getattr(anndata, f"read_{form}")(path)
    np.testing.assert_array_equal(dense(back), dense(adata))
    assert back.obs["cell_type"].tolist() == adata.obs["cell_type"].tolist()
    assert back.uns["zisynth"].keys() == adata.uns["zisynth"].keys()
    for name, array in adata.uns["zisynth"]["params"].items():
        np.testing.assert_array_equal(back.uns["zisynth"]["params"][name], array)


def test_the_builtin_set_is_like_the_study_s() -> None:
    observed, true = dense(zisynth())
    assert true.shape == (12_000, 50)
    assert 0.03 < (true == 0).mean() < 0.10
    assert (true.sum(axis=1) > 0).all()
    assert (observed.sum(axis=1) > 0).all()
    parameters = builtin_parameters()
    for cell_type in "02":
        means = np.exp(parameters[f"mu_{cell_type}"] + np.diag(parameters[f"sigma_{cell_type}"]) / 2)
        assert means.min() > 2
        assert means.max() < 60
    assert 5 < np.median(true.mean(axis=0)) < 50


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lam": -1}, ValueError, "lam must be a finite number of at least 0, found -1"),
        ({"lam": np.nan}, ValueError, "lam must be a finite number"),
        ({"lam": np.inf}, ValueError, "lam must be a finite number"),
        ({"p": 1.5}, ValueError, "p must be a number from 0 to 1, found 1.5"),
        ({"p": np.nan}, ValueError, "p must be a number from 0 to 1"),
        ({"n_obs": 0}, ValueError, "n_obs must be a whole number of at least 1.*found 0"),
        ({"n_obs": 10.5}, TypeError, "n_obs must be a whole number of at least 1.*found 10.5"),
        (
            {"params": {**SMALL, "mu_2": [20.0, 1.0]}},
            ValueError,
            r"expected counts below 8388608, found e\^20.0",
        ),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        zisynth(**settings)
