"""`zero_test`: families of known counts, groups that explain zeros, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from compare import assert_same_anndata

import zinbtools as zt


@pytest.fixture
def adata() -> AnnData:
    """Genes 0-19 Poisson, 20-39 NB, 40-59 ZINB; gene 60 is silent in one type."""
    random = np.random.default_rng(0)
    depth = random.lognormal(0, 0.3, (1500, 1))
    rates = depth * np.repeat(6.0, 61)
    x = random.poisson(rates)
    x[:, 20:] = random.poisson(random.gamma(3.0, rates[:, 20:] / 3.0))
    x[:, 40:60] *= random.random((1500, 20)) >= 0.25
    kind = np.arange(1500) % 3
    x[kind == 0, 60] = 0
    made = AnnData(x.astype(np.float32))
    made.obs["kind"], made.obs["sample"] = kind.astype(str), (np.arange(1500) % 2).astype(str)
    return made


def test_families_are_those_that_made_the_counts(adata: AnnData) -> None:
    zt.tl.zero_test(adata, alpha=0.001)
    family = zt.get.zero_test_df(adata)["family"].to_numpy()
    assert (family[:20] == "poisson").mean() >= 0.9
    assert (family[20:40] == "nb").mean() >= 0.9
    assert (family[40:] == "zinb").all()


def test_a_gene_that_one_type_lacks_is_explained_by_the_type(adata: AnnData) -> None:
    zt.tl.zero_test(adata, groupby="kind", batch_key="sample")
    table = zt.get.zero_test_df(adata)
    assert table["family"].iloc[60] == "nb"
    assert (table["family"].iloc[40:60] == "zinb").all()
    np.testing.assert_allclose(table["zinb_dropout"].iloc[40:60], 0.25, atol=0.06)


def test_expected_zeros_and_criteria(adata: AnnData) -> None:
    zt.tl.zero_test(adata)
    table = zt.get.zero_test_df(adata)
    np.testing.assert_allclose(
        table["observed_zero_fraction"].iloc[20:], table["zinb_zero_fraction"].iloc[20:], atol=0.02
    )
    np.testing.assert_allclose(table["nb_aic"], 4 - 2 * table["nb_log_likelihood"])
    np.testing.assert_allclose(table["zinb_bic"], 3 * np.log(1500) - 2 * table["zinb_log_likelihood"])


def test_only_what_was_asked_for(adata: AnnData) -> None:
    zt.tl.zero_test(adata, families="nb", key_added="run")
    table = zt.get.zero_test_df(adata, key="run")
    assert not [name for name in table if "zinb" in name or "zip" in name]
    assert set(table["family"]) == {"poisson", "nb"}


def test_genes_without_a_count_are_left_open(adata: AnnData) -> None:
    adata.X[:, 5] = 0
    zt.tl.zero_test(adata)
    row = zt.get.zero_test_df(adata).iloc[5]
    assert row["family"] == "none"
    assert np.isnan(row["nb_log_likelihood"])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"groupby": "type"}, KeyError, "groupby: 'type' is not in adata.obs"),
        ({"alpha": 0}, ValueError, "alpha must be a number between 0 and 1, both excluded, found 0"),
        ({"families": ["gauss"]}, ValueError, "families must be some of"),
        ({"groupby": "sample", "batch_key": "sample"}, ValueError, "cannot be told apart"),
    ],
)
def test_what_is_refused(adata: AnnData, arguments: dict, error: type[Exception], words: str) -> None:
    before = adata.copy()
    with pytest.raises(error, match=words):
        zt.tl.zero_test(adata, **arguments)
    assert_same_anndata(adata, before)


def test_missing_groups_are_refused(adata: AnnData) -> None:
    adata.obs.loc[adata.obs_names[0], "kind"] = None
    with pytest.raises(ValueError, match="groupby: 'kind' is missing for"):
        zt.tl.zero_test(adata, groupby="kind")
