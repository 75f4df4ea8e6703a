from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from zinbtools.study import select


def make(counts: object) -> AnnData:
    adata = AnnData(np.asarray(counts, dtype=np.float32))
    adata.var_names = [f"g{i}" for i in range(adata.n_vars)]
    adata.obs_names = [f"c{i}" for i in range(adata.n_obs)]
    return adata


def test_a_gene_must_be_detected_in_more_than_the_share() -> None:
    adata = make([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
    assert list(select(adata, min_detection=0.5).var_names) == ["g2"]
    assert list(select(adata, min_detection=0.49).var_names) == ["g1", "g2"]
    assert list(select(adata, min_detection=0.0).var_names) == ["g0", "g1", "g2"]


def test_the_first_of_equally_variable_genes_is_kept_and_the_order_stays() -> None:
    adata = make([[0, 5, 0, 9], [5, 0, 5, 0]])
    assert list(select(adata, n_top_genes=2).var_names) == ["g0", "g3"]


def test_variance_is_that_of_detected_genes_only() -> None:
    adata = make([[100, 1, 3], [0, 1, 1], [0, 1, 1]])
    assert list(select(adata, min_detection=0.5, n_top_genes=1).var_names) == ["g2"]


def test_more_genes_than_there_are_is_all() -> None:
    assert select(make(np.eye(3)), n_top_genes=10).n_vars == 3


def test_cells_left_without_a_count_go_with_all_that_belongs_to_them() -> None:
    adata = make([[9, 0], [0, 1], [0, 0], [4, 4]])
    adata.layers["other"] = sparse.csr_matrix(adata.X * 2)
    adata.obs["number"] = np.arange(4)
    chosen = select(adata, n_top_genes=1)
    assert list(chosen.obs_names) == ["c0", "c3"]
    assert chosen.obs["number"].tolist() == [0, 3]
    assert chosen.layers["other"].toarray().tolist() == [[18], [8]]
    assert not chosen.is_view
    assert adata.shape == (4, 2)


def test_counts_of_a_layer_decide() -> None:
    adata = make([[9, 0], [0, 1]])
    adata.layers["counts"] = adata.X[:, ::-1].copy()
    assert list(select(adata, layer="counts", n_top_genes=1).var_names) == ["g1"]


@given(hnp.arrays(np.int64, (6, 5), elements=st.integers(0, 1000)).filter(lambda x: x.any()))
def test_sparse_and_dense_agree_with_the_definition(counts: np.ndarray) -> None:
    exact = 6 * (counts**2).sum(axis=0) - counts.sum(axis=0) ** 2
    expected = np.sort(np.argsort(-exact, kind="stable")[:2])
    variances = np.sort(exact)
    if (np.diff(variances) == 0).any():
        return  # rounding may tell equals apart
    for values in (counts, sparse.csr_matrix(counts), sparse.csc_matrix(counts)):
        adata = AnnData(values.astype(np.float32))
        assert [int(name) for name in select(adata, n_top_genes=2).var_names] == list(expected)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"min_detection": 1.0}, ValueError, "min_detection must be a number from 0 to below 1"),
        ({"min_detection": -0.1}, ValueError, "min_detection must be a number from 0 to below 1"),
        ({"min_detection": 0.9}, ValueError, "min_detection=0.9 leaves no gene"),
        ({"n_top_genes": 0}, ValueError, "n_top_genes must be a whole number of at least 1.*found 0"),
        ({"layer": "raw"}, KeyError, "layer 'raw' is not in adata.layers"),
    ],
)
def test_what_cannot_be_selected_is_refused(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        select(make([[1, 0], [0, 1]]), **options)


def test_a_matrix_of_zeros_is_refused() -> None:
    with pytest.raises(ValueError, match="all zero"):
        select(make(np.zeros((2, 2))))
