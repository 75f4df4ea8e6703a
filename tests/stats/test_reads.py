"""Reads per molecule on counts whose molecules are known."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from scipy import sparse

from zinbtools.simulate import amplify, gamma_poisson
from zinbtools.stats.cell_copies import Cells, TellingGenes
from zinbtools.stats.reads import are_foretold, reads_per_molecule

SHAPES = ("geometric", "negative binomial", "poisson", "lognormal", "pcr")


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(np.log(x), np.log(y))[0, 1])


@pytest.mark.parametrize("distribution", SHAPES)
def test_levels_are_within_15_percent_and_cells_in_order(distribution: str) -> None:
    """One cell type, inverse dispersions of 2 or so, and cells as far apart as in real sets."""
    molecules = gamma_poisson(200, 2000, means=np.geomspace(0.05, 20, 2000), n_types=1, rng=4)
    reads = amplify(molecules, copies=15, distribution=distribution, shape=0.3, cell_sd=0.4, rng=5)
    k, x = (np.asarray(a.X.sum(1)).ravel() for a in (molecules, reads))
    found = reads_per_molecule(Cells.around(sparse.csr_array(reads.X)))
    assert found.level == pytest.approx(x.sum() / k.sum(), rel=0.15)
    assert found.low < x.sum() / k.sum() < found.high
    assert correlation(found.copies, x / k) > 0.95
    assert correlation(found.molecules, k) > 0.95
    np.testing.assert_allclose(found.molecules * found.copies, x)


def test_molecules_are_read_about_once() -> None:
    molecules = gamma_poisson(200, 1000, means=np.geomspace(0.05, 20, 1000), n_types=1, rng=4)
    assert 1 <= reads_per_molecule(Cells.around(sparse.csr_array(molecules.X))).level < 1.2


def test_the_order_of_cells_does_not_matter() -> None:
    molecules = gamma_poisson(150, 300, means=np.geomspace(0.05, 20, 300), rng=4)
    reads = sparse.csr_array(amplify(molecules, rng=1).X)
    order = np.random.default_rng(0).permutation(150)
    found, again = (reads_per_molecule(Cells.around(x)) for x in (reads, reads[order]))
    np.testing.assert_allclose(again.copies, found.copies[order], rtol=1e-6)


def of_kinds(copies: float, rng: int = 0) -> tuple[sparse.csr_array, np.ndarray, float]:
    """Counts of five kinds of cells, what is to be expected of them, and reads per molecule."""
    random = np.random.default_rng(rng)
    kinds = np.exp(random.normal(-2, 2, (5, 300)))[random.integers(0, 5, 300)]
    means = kinds * random.lognormal(0, 0.3, (300, 1))
    molecules = random.poisson(random.gamma(2.5, means / 2.5))
    counts = molecules + random.negative_binomial(np.maximum(molecules, 1e-9), 1 / copies) * (molecules > 0)
    return sparse.csr_array(counts.astype(float)), means, counts.sum() / molecules.sum()


def test_differences_between_cells_are_no_copies() -> None:
    """Many molecules of a gene that few cells have are taken for copies, unless it is known which have it."""
    for copies in (1.0, 15.0):
        counts, means, true = of_kinds(copies)
        alike, apart = (reads_per_molecule(Cells.around(counts, of)) for of in (None, means))
        assert alike.level > 1.5 * true
        assert apart.level == pytest.approx(true, rel=0.2)
        assert apart.low <= true <= apart.high
    assert np.log(apart.relative).std() < np.log(alike.relative).std()


def test_what_is_expected_of_cells_has_to_foretell_other_cells() -> None:
    counts, means, _ = of_kinds(15.0)
    noise = np.random.default_rng(1).lognormal(0, 1, means.shape)
    for of, answer in ((means, True), (noise, False), (np.ones_like(means), False)):
        learned, others = (Cells.around(counts[part], of[part]) for part in (slice(250), slice(250, None)))
        assert are_foretold([learned], [others]) is answer
    assert not are_foretold([learned], [others.rows(np.arange(2))])


def test_the_likelihood_of_detection_is_that_of_its_cells() -> None:
    counts, means, _ = of_kinds(1.0)
    cells = Cells.around(counts, means)
    which = np.flatnonzero(np.abs((counts > 0).mean(axis=0) - 0.4) < 0.3)
    share = np.asarray((counts[:, which] > 0).mean(axis=0)).ravel()
    genes = TellingGenes.of(cells, which, share)
    part = cells.part(which)
    seen = counts[:, which].toarray() > 0
    expected = genes._means(part, genes.depth(cells))
    absent = (1 + 0.4 * expected) ** -2.5
    np.testing.assert_allclose((1 - absent).sum(axis=1), seen.sum(axis=1), rtol=1e-4)
    by_hand = np.where(seen, np.log1p(-absent), np.log(absent)).sum(axis=1)
    np.testing.assert_allclose(genes.detection(cells), by_hand, rtol=1e-9)


@pytest.mark.parametrize(("n_cells", "n_genes"), [(9, 300), (50, 20)])
def test_few_cells_or_genes_are_refused(n_cells: int, n_genes: int) -> None:
    x = np.random.default_rng(0).poisson(0.5, (n_cells, n_genes)) * 7
    with pytest.raises(ValueError, match="30 of them and 10 cells are needed, found"):
        reads_per_molecule(Cells.around(sparse.csr_array(x)))


@pytest.mark.parametrize(("protocol", "least"), [("celseq2", 0.98), ("scrbseq", 0.96)])
def test_the_same_cells_as_reads_and_as_molecules(shared_data, protocol: str, least: float) -> None:
    adata = anndata.read_h5ad(shared_data / "data" / f"ziegenhain2017_{protocol}_reads_and_umis.h5ad")
    adata = adata[:, ~adata.var["spike_in"].to_numpy(dtype=bool)]
    k, x = (np.asarray(adata.layers[name].sum(1)).ravel() for name in ("umi", "reads"))
    found = reads_per_molecule(Cells.around(sparse.csr_array(adata.layers["reads"])))
    assert found.level == pytest.approx(x.sum() / k.sum(), rel=0.15)
    assert found.low < x.sum() / k.sum() < found.high
    assert correlation(found.copies, x / k) > least
    assert correlation(found.molecules, k) > 0.95
