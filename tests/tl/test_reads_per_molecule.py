"""Reads per molecule in an AnnData, and the test of genes of reads."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

import zinbtools as zt


def of_reads(rng: int = 1, copies: float = 15) -> AnnData:
    molecules = zt.simulate.gamma_poisson(240, 120, means=np.geomspace(0.1, 8, 120), n_types=1, rng=rng)
    return zt.simulate.amplify(molecules, copies=copies, rng=rng)


def test_each_batch_has_its_own_level() -> None:
    few, many = of_reads(1, copies=5), of_reads(2, copies=40)
    adata = AnnData(np.vstack([few.X.toarray(), many.X.toarray()]))
    adata.obs["plate"] = np.repeat(["few", "many"], 240)
    zt.tl.reads_per_molecule(adata, batch_key="plate")
    table = zt.get.reads_per_molecule_df(adata).set_index("batch")
    assert table["n_cells"].tolist() == [240, 240]
    assert table.loc["many", "reads_per_molecule"] > 5 * table.loc["few", "reads_per_molecule"]
    by_cell = adata.obs.groupby("plate")["reads_per_molecule"].median()
    np.testing.assert_allclose(by_cell, table["reads_per_molecule"], rtol=0.25)
    inside = adata.obs["reads_per_molecule_low"] < adata.obs["reads_per_molecule"]
    assert inside.all()
    assert (adata.obs["reads_per_molecule"] < adata.obs["reads_per_molecule_high"]).all()
    total = adata.obs["reads_per_molecule"] * adata.obs["n_molecules"]
    np.testing.assert_allclose(total, adata.X.sum(1))


def test_what_was_found_goes_through_a_file(tmp_path) -> None:
    import anndata

    adata = of_reads()
    zt.tl.reads_per_molecule(adata, key_added="deep")
    adata.write_h5ad(tmp_path / "reads.h5ad")
    again = anndata.read_h5ad(tmp_path / "reads.h5ad")
    ours, theirs = (zt.get.reads_per_molecule_df(a, key="deep") for a in (adata, again))
    assert ours.to_dict() == theirs.to_dict()
    np.testing.assert_array_equal(again.obs["deep_n_molecules"], adata.obs["deep_n_molecules"])
    with pytest.raises(KeyError, match="run zt.tl.reads_per_molecule"):
        zt.get.reads_per_molecule_df(adata)


def test_a_batch_of_few_cells_is_named() -> None:
    adata = of_reads()
    adata.obs["plate"] = ["a"] * 235 + ["b"] * 5
    with pytest.raises(ValueError, match="batch 'b' of batch_key 'plate': reads tell molecules by genes"):
        zt.tl.reads_per_molecule(adata, batch_key="plate")
    assert "reads_per_molecule" not in adata.obs


def test_copies_around_what_a_fit_expects() -> None:
    """Of cells that differ in what they express; the same for the cells of one kind."""
    random = np.random.default_rng(0)
    kinds = np.exp(random.normal(-2, 2, (5, 200)))[random.integers(0, 5, 500)]
    molecules = AnnData(random.poisson(random.gamma(2.5, kinds / 2.5)).astype(np.float32))
    reads = zt.simulate.amplify(molecules, copies=10, rng=1)
    true = reads.X.sum() / reads.layers["molecules"].sum()
    zt.tl.fit_nb_zinb(reads, models="nb", max_epochs=60, progress=False)
    zt.tl.reads_per_molecule(reads)
    alone = zt.get.reads_per_molecule_df(reads).iloc[0]
    zt.tl.reads_per_molecule(reads, of_fit=True)
    found = zt.get.reads_per_molecule_df(reads).iloc[0]
    assert alone["reads_per_molecule"] > 1.5 * true
    assert found["reads_per_molecule"] == pytest.approx(true, rel=0.3)
    assert found["batch"] == "all"
    assert reads.obs["reads_per_molecule"].notna().all()
    with pytest.raises(ValueError, match="are the fit's with of_fit"):
        zt.tl.reads_per_molecule(reads, of_fit=True, layer="molecules")


@pytest.mark.slow
def test_genes_of_reads_are_not_called_for_their_copies() -> None:
    """Of those that lose all molecules of three cells in ten, some are."""
    base = zt.simulate.gamma_poisson(900, 120, means=np.geomspace(0.3, 8, 120), n_types=2, rng=1)
    lost = zt.simulate.mixed(0.3, base=base, inflation=zt.simulate.Uniform(0.3), rng=1)
    reads = zt.simulate.amplify(lost, copies=15, rng=2)
    truth = reads.var["is_zero_inflated"].to_numpy()
    zt.tl.fit_nb_zinb(reads, models="nb", max_epochs=25, progress=False)
    zt.tl.zi_scores(reads, counts="molecules")
    taken = reads.var["zi_call"] == "zero-inflated"
    reads.uns["zinbtools"]["params"]["counts"] = "reads"  # of so few genes it is not seen
    zt.tl.zi_scores(reads)
    called = (reads.var["zi_call"] == "zero-inflated").to_numpy()
    assert taken[~truth].sum() >= 10
    assert called[~truth].sum() <= 1
    assert called[truth].sum() >= 2
    with pytest.raises(ValueError, match="n_bootstrap draws twins of molecules"):
        zt.tl.zi_scores(reads, n_bootstrap=1)
