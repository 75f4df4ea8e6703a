"""Reads with known copies."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

from zinbtools.simulate import Uniform, amplify, gamma_poisson, mixed

DISTRIBUTIONS = ("geometric", "negative binomial", "poisson", "lognormal", "pcr")


@pytest.fixture(scope="module")
def molecules() -> AnnData:
    return gamma_poisson(300, 200, means=np.geomspace(0.05, 20, 200), rng=1)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_each_molecule_has_as_many_reads_as_was_asked(molecules: AnnData, distribution: str) -> None:
    reads = amplify(molecules, copies=12, distribution=distribution, cell_sd=0, gene_sd=0, rng=2)
    k, x = (a.X.toarray().astype(float) for a in (molecules, reads))
    assert ((x > 0) == (k > 0)).all()
    assert (x >= k).all()
    assert x.sum() / k.sum() == pytest.approx(12, rel=0.02)
    assert (reads.layers["molecules"] != molecules.X).nnz == 0


def test_the_shape_is_that_of_the_reads_of_one_molecule(molecules: AnnData) -> None:
    reads = amplify(
        molecules, copies=9, distribution="negative binomial", shape=0.25, cell_sd=0, gene_sd=0, rng=0
    )
    single = reads.X.toarray()[molecules.X.toarray() == 1]
    assert single.var() == pytest.approx(8 + 64 / 0.25, rel=0.25)
    poisson = amplify(molecules, copies=9, distribution="poisson", cell_sd=0, gene_sd=0)
    assert poisson.X.toarray()[molecules.X.toarray() == 1].var() == pytest.approx(8, rel=0.1)


def test_cells_and_genes_have_their_own_copies(molecules: AnnData) -> None:
    reads = amplify(molecules, copies=30, cell_sd=0.5, gene_sd=0.4, rng=3)
    k, x = molecules.X.toarray(), reads.X.toarray()
    of_cells = reads.obs["copies_per_molecule"].to_numpy()
    expected = (k * (1 + np.outer(of_cells - 1, reads.var["copies_factor"]))).sum(1)
    np.testing.assert_allclose(x.sum(1), expected, rtol=0.35)
    assert np.corrcoef(np.log(x.sum(1) / k.sum(1)), np.log(of_cells))[0, 1] > 0.9
    assert np.log(of_cells - 1).std() == pytest.approx(0.5, rel=0.15)


def test_shallow_sequencing_loses_molecules_of_few_reads(molecules: AnnData) -> None:
    deep = amplify(molecules, copies=20, rng=4)
    shallow = amplify(molecules, copies=20, kept=0.05, rng=4)
    assert shallow.X.sum() / deep.X.sum() == pytest.approx(0.05, rel=0.02)
    k, left = molecules.X.toarray(), shallow.X.toarray() > 0
    assert 0.3 < left[k == 1].mean() < 0.7
    assert left[k >= 15].mean() > 0.999


def test_dropout_before_goes_along(molecules: AnnData) -> None:
    lost = mixed(0.5, base=molecules, inflation=Uniform(0.3), rng=0)
    reads = amplify(lost, rng=0)
    assert ((reads.X > 0) != (lost.X > 0)).nnz == 0
    assert (reads.layers["true_counts"] != molecules.X).nnz == 0
    assert reads.var["is_zero_inflated"].sum() == 100


def test_the_same_seed_gives_the_same_reads(molecules: AnnData) -> None:
    first, again, other = (amplify(molecules, rng=seed).X for seed in (1, 1, 2))
    assert (first != again).nnz == 0
    assert (first != other).nnz > 0


def test_what_cannot_be_is_refused(molecules: AnnData) -> None:
    with pytest.raises(ValueError, match="copies must be a finite number above 1, found 1"):
        amplify(molecules, copies=1)
    with pytest.raises(ValueError, match="kept must be above 0"):
        amplify(molecules, kept=0.0)
    with pytest.raises(ValueError, match="expected reads below 2097152"):
        amplify(molecules, copies=1e6)
