from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from zinbtools.simulate import Exponential, PerCell, Uniform, gamma_poisson, knockout, mixed


@pytest.fixture
def base() -> AnnData:
    return gamma_poisson(400, 60, means=np.geomspace(0.5, 20, 60), rng=1)


def test_the_study_s_mixed_set_is_the_default() -> None:
    adata = mixed(0.33)
    assert adata.shape == (12_000, 50)
    assert adata.var["is_zero_inflated"].sum() == 16
    lost = adata.layers["true_counts"].getnnz(axis=0) - adata.X.getnnz(axis=0)
    inflated = adata.var["is_zero_inflated"].to_numpy()
    assert (lost[~inflated] == 0).all()
    rate = lost[inflated] / adata.layers["true_counts"].getnnz(axis=0)[inflated]
    assert (np.abs(rate - 0.08) < 4.5 * np.sqrt(0.08 * 0.92 / 5000)).all()


def test_the_base_is_left_as_it_is_and_goes_along(base: AnnData) -> None:
    before = base.copy()
    adata = mixed(0.5, base=base, inflation=Exponential(0.5, lam=0.01), rng=2)
    assert (base.X != before.X).nnz == 0
    assert not base.var["is_zero_inflated"].any()
    assert (adata.layers["true_counts"] != base.X).nnz == 0
    assert adata.X.nnz < base.X.nnz
    assert adata.obs.equals(base.obs)
    assert adata.uns["simulation"] == base.uns["simulation"]
    assert adata.uns["inflation"] == {"rule": "Exponential", "p": 0.5, "lam": 0.01, "share": 0.5}


def test_which_genes_are_inflated_depends_on_the_seed(base: AnnData) -> None:
    first, again, other = (
        mixed(0.5, base=base, rng=seed).var["is_zero_inflated"] for seed in (1, np.random.SeedSequence(1), 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"share": 1.5}, ValueError, "share must be a number from 0 to 1, found 1.5"),
        ({"inflation": 0.1}, TypeError, "inflation must be a rule such as Uniform"),
        ({"base": np.ones((3, 3))}, TypeError, "base must be an AnnData.*found ndarray"),
    ],
)
def test_bad_arguments_are_refused(
    base: AnnData, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mixed(**{"base": base, **arguments})


def test_a_base_that_is_inflated_already_is_refused(base: AnnData) -> None:
    with pytest.raises(ValueError, match="base must be without inflation, found 30 inflated genes"):
        mixed(base=mixed(0.5, base=base))


# ------------------------------------------------------------------ knockout


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, np.asarray])
@pytest.mark.parametrize("layer", [None, "counts"])
def test_any_array_in_any_place_gives_the_same(base: AnnData, form: Any, layer: str | None) -> None:
    counts = form(base.X.toarray().astype(np.int32))
    adata = AnnData(counts if layer is None else np.zeros(base.shape), obs=base.obs, var=base.var)
    if layer is not None:
        adata.layers[layer] = counts
    taken = knockout(adata, Uniform(0.2), layer=layer)
    expected = knockout(base, Uniform(0.2))
    assert (taken.X != expected.X).nnz == 0
    assert (taken.X.format, taken.X.dtype) == ("csr", np.float32)
    assert (taken.layers["true_counts"] != base.X).nnz == 0


def test_what_was_computed_from_the_counts_before_does_not_go_along(base: AnnData) -> None:
    base.obsm["X_pca"] = np.zeros((400, 2))
    base.layers["log"] = base.X.log1p()
    base.uns["zinbtools"] = {"fit": 1}
    base.raw = base
    taken = knockout(base, Uniform(0.1))
    assert set(taken.layers) - {None} == {"true_counts"}
    assert list(taken.obsm) == []
    assert set(taken.uns) == {"simulation", "inflation"}
    assert taken.raw is None
    assert taken.obs.equals(base.obs)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_files_keep_the_truth(tmp_path: Path, base: AnnData, form: str) -> None:
    taken = knockout(base, PerCell(np.linspace(0, 0.5, 400)), share=0.5)
    getattr(taken, f"write_{form}")(tmp_path / "x")
    back = getattr(anndata, f"read_{form}")(tmp_path / "x")
    assert (back.layers["true_counts"] != taken.layers["true_counts"]).nnz == 0
    assert back.var.equals(taken.var)
    np.testing.assert_array_equal(back.uns["inflation"]["p"], np.linspace(0, 0.5, 400))


@pytest.mark.parametrize(
    ("change", "layer", "error", "message"),
    [
        (lambda x: x * 0.5, None, ValueError, r"adata\.X holds numbers that are not whole"),
        (lambda x: -x, None, ValueError, r"adata\.X holds negative numbers.*give raw counts"),
        (lambda x: x * np.nan, None, ValueError, r"adata\.X holds \d+ numbers that are NaN or infinite"),
        (lambda x: x * 1e8, None, ValueError, r"more than the largest count allowed, 2\^31 - 1"),
        (lambda x: x, "counts", KeyError, "layer 'counts' is not in adata.layers; there are 'true_counts'"),
    ],
)
def test_what_are_no_counts_is_refused(
    base: AnnData, change: Any, layer: str | None, error: type[Exception], message: str
) -> None:
    base.X = change(base.X)
    with pytest.raises(error, match=message):
        knockout(base, Uniform(0.1), layer=layer)


def test_no_counts_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="adata has 0 cells and 3 genes; both must be more than 0"):
        knockout(AnnData(np.zeros((0, 3))), Uniform(0.1))


@pytest.mark.parametrize("name", ["pbmc4k_hvg2000", "mousegut_smartseq2_reads"])
def test_real_counts_with_holes_agree_with_the_truth_entry_by_entry(shared_data: Path, name: str) -> None:
    adata = anndata.read_h5ad(shared_data / "data" / f"{name}.h5ad")
    taken = knockout(adata, Exponential(0.3, lam=0.01), share=0.5, rng=1)
    assert (taken.layers["true_counts"] != adata.X).nnz == 0
    observed, true = taken.X.toarray(), adata.X.toarray()
    lost = observed != true
    assert (observed[lost] == 0).all()
    assert (true[lost] > 0).all()
    assert not lost[:, ~taken.var["is_zero_inflated"]].any()
    assert lost.sum() == pytest.approx(taken.var["expected_dropout"].sum() * adata.n_obs, rel=0.02)
