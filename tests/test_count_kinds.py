"""Whole numbers that are no counts of molecules are named, and counts of molecules are not accused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData
from benchmarks.data import MOLECULES
from numpy.typing import NDArray
from scipy import sparse

import zinbtools as zt
from zinbtools._anndata.counts import read_counts
from zinbtools._anndata.depths import evenness, share_at_one_depth
from zinbtools._anndata.factors import evidence_of_factors
from zinbtools._anndata.findings import Findings
from zinbtools._anndata.kinds import Finding
from zinbtools._anndata.spectra import N_OVERALL, N_SMALL, Spectra, gap, likeness, spread
from zinbtools._words.count_kinds import CountKind, advice

Floats = NDArray[np.float64]


def finding(numbers: Floats | sparse.csr_array, n_blocks: int = 1) -> Finding:
    numbers = sparse.csr_array(numbers)
    found = Findings(np.arange(numbers.shape[1]))
    edges = np.linspace(0, numbers.shape[0], n_blocks + 1).astype(int)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        found.add(numbers[start:stop])
    return found.finding(lambda: numbers)


@pytest.fixture(scope="module")
def molecules() -> Floats:
    """NB counts of 300 cells x 600 genes, from rare ones to those with 50 per cell; depths differ."""
    rng = np.random.default_rng(0)
    rate = np.exp(rng.normal(-1, 1.8, 600)) * rng.lognormal(0, 0.5, (300, 1)) * rng.gamma(2, 0.5, (300, 600))
    counts = rng.poisson(rate).astype(float)
    return counts[:, counts.sum(0) > 0]


def scaled(counts: Floats, total: float | None = None) -> Floats:
    sums = counts.sum(1, keepdims=True)
    return counts / sums * (total or np.median(sums))


def copies(counts: Floats) -> Floats:
    """Each molecule with 1 and more reads, 8 on average, far from all alike."""
    rng = np.random.default_rng(1)
    return counts + rng.poisson(rng.gamma(np.where(counts > 0, counts / 3, 1), 21) * (counts > 0))


CHANGES: dict[str, tuple[CountKind, Callable[[Floats], Floats]]] = {
    "twos": (CountKind.MULTIPLES, lambda x: 2 * x),
    "threes": (CountKind.MULTIPLES, lambda x: 3 * x),
    "tens": (CountKind.MULTIPLES, lambda x: 10 * x),
    "median": (CountKind.SCALED, scaled),
    "CPM": (CountKind.SCALED, lambda x: scaled(x, 1e6)),
    "1e4": (CountKind.SCALED, lambda x: scaled(x, 1e4)),
    "log1p": (CountKind.LOGS, np.log1p),
    "log2": (CountKind.LOGS, lambda x: np.log2(x + 1)),
    "log of 1e4": (CountKind.LOGS, lambda x: np.log1p(scaled(x, 1e4))),
    "10 log of 1e4": (CountKind.LOGS, lambda x: 10 * np.log1p(scaled(x, 1e4))),
    "reads": (CountKind.READS, copies),
}


@pytest.mark.parametrize("name", CHANGES)
def test_numbers_that_are_no_molecules_are_named(molecules: Floats, name: str) -> None:
    kind, change = CHANGES[name]
    assert finding(molecules) == (CountKind.MOLECULES, "")
    found = finding(np.rint(change(molecules)))
    assert found.kind == kind
    assert found.sign


def test_one_depth_is_seen(molecules: Floats) -> None:
    rng = np.random.default_rng(0)
    rows = molecules[molecules.sum(1) >= 300].astype(np.int64)
    drawn = np.stack([rng.multivariate_hypergeometric(row, 300) for row in rows])
    assert finding(drawn.astype(float)).kind == CountKind.DOWNSAMPLED
    some = drawn[:, rng.permutation(drawn.shape[1])[:300]]
    assert finding(some.astype(float)).kind == CountKind.MOLECULES  # a part of it is as good as any counts


def test_the_finding_does_not_depend_on_the_blocks(molecules: Floats) -> None:
    for numbers in (molecules, np.rint(scaled(molecules)), copies(molecules)):
        assert finding(numbers, n_blocks=7) == finding(numbers)


@pytest.mark.parametrize("mean", [0.05, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("theta", [0.3, 3.0])
def test_simulated_counts_of_any_depth_are_not_accused(mean: float, theta: float) -> None:
    rng = np.random.default_rng(3)
    rate = mean * rng.lognormal(0, 1, 300) * rng.lognormal(0, 0.4, (200, 1))
    counts = rng.poisson(rate * rng.gamma(theta, 1 / theta, (200, 300))).astype(float)
    assert finding(counts[counts.sum(1) > 0]).kind == CountKind.MOLECULES


@pytest.mark.parametrize("high", [3.0, 8.0, 20.0])
@pytest.mark.parametrize("background", [0.02, 0.1])
def test_markers_are_not_taken_for_reads(high: float, background: float) -> None:
    """A panel of markers: many in cells of one kind, one now and then in the others."""
    rng = np.random.default_rng(4)
    kinds, own = rng.integers(10, size=800), rng.integers(10, size=200)
    mean = np.where(kinds[:, None] == own, high, background) * rng.gamma(2, 0.5, 200)
    counts = rng.poisson(mean * rng.gamma(2, 0.5, mean.shape)).astype(float)
    assert finding(counts).kind == CountKind.MOLECULES
    shuffled = np.stack([rng.permutation(column) for column in counts.T], axis=1)
    rare = np.arange(200)
    assert likeness(sparse.csr_array(counts), rare) > 0.1 > 0.01 > likeness(sparse.csr_array(shuffled), rare)


def test_zero_inflation_is_not_taken_for_reads() -> None:
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.gamma(2, 5, (500, 300))) * (rng.random((500, 300)) < 0.15)
    assert finding(counts.astype(float)).kind == CountKind.MOLECULES


def test_zeros_and_ones_are_not_accused() -> None:
    rng = np.random.default_rng(6)
    assert finding((rng.random((500, 200)) < rng.beta(1, 6, 200)).astype(float)).kind == CountKind.MOLECULES


def test_logs_of_few_molecules_are_seen_by_their_zeros() -> None:
    """Rounded logs of 1 to 4 molecules are 1 or 2: no gap, no peak, but genes that vary too little."""
    rng = np.random.default_rng(9)
    mean = rng.uniform(0.2, 1.5, 60) * rng.lognormal(0, 0.3, (200, 1))
    counts = rng.poisson(mean).astype(float)
    assert finding(counts).kind == CountKind.MOLECULES
    found = finding(np.rint(np.log1p(counts)))
    assert found.kind == CountKind.LOGS
    assert "with the zeros" in found.sign


@pytest.mark.parametrize("added", [0, 1])
@pytest.mark.parametrize("threshold", [1, 10, 14])
def test_totals_that_differ_as_by_chance_or_are_filtered_are_not_accused(added: int, threshold: int) -> None:
    """Cells of one depth, of which only those of many counts are kept; and features that are always seen."""
    rng = np.random.default_rng(10)
    counts = added + rng.poisson(rng.dirichlet(np.ones(30), 1)[0] * 7, (20_000, 30))
    counts = counts[counts.sum(1) >= threshold + 30 * added][:500].astype(float)
    assert finding(counts).kind == CountKind.MOLECULES
    assert finding(np.rint(scaled(counts[:, :25] + counts[:, [25]], 300))).kind != CountKind.MOLECULES


@pytest.mark.parametrize("n_cells", [60, 500, 5000])
@pytest.mark.parametrize("mean", [7, 200, 5000])
def test_evenness_of_totals(mean: int, n_cells: int) -> None:
    """No window of totals makes them too even, be it in the middle or a tail; a narrow peak does."""
    rng = np.random.default_rng(14)
    draws = rng.poisson(mean, 2_000_000)
    deviation = np.sqrt(mean)
    for low, high in ((-9, 9), (-0.5, 0.5), (0.5, 2), (2, 9), (3, 9), (-9, -1.5)):
        kept = draws[(draws >= mean + low * deviation) & (draws <= mean + high * deviation)][:n_cells]
        assert evenness(kept.astype(float)) < 3
    uniform = rng.integers(mean, int(mean + deviation) + 1, n_cells)
    assert evenness(uniform.astype(float)) < 3
    peak = np.rint(mean + deviation / 4 * rng.normal(size=n_cells))
    assert evenness(peak) > 3.5
    assert evenness(peak + 30, always=30) == pytest.approx(evenness(peak))
    assert evenness(rng.negative_binomial(10, 10 / (10 + mean), n_cells).astype(float)) == 0


def test_totals_at_one_depth() -> None:
    """Cells that were drawn to one depth, and those that had less."""
    rng = np.random.default_rng(15)
    totals = rng.negative_binomial(5, 5 / 1005, 500).astype(float)
    assert share_at_one_depth(totals) == 0
    drawn = np.minimum(totals, 800)
    assert share_at_one_depth(drawn) == np.mean(totals >= 800)
    assert share_at_one_depth(drawn[totals >= 800]) == 1
    assert share_at_one_depth(np.minimum(rng.poisson(4, 500), 9).astype(float)) == 0


def test_a_few_cells_of_another_kind_do_not_make_reads() -> None:
    """Cells of one type among which there are doublets, and the genes that vary most for that."""
    rng = np.random.default_rng(11)
    counts = rng.poisson(np.r_[np.full(60, 0.03), rng.uniform(0.1, 2, 140)], (200, 200))
    for gene in range(60):
        counts[gene % 3, gene] += rng.poisson(25)
    assert finding(counts.astype(float)).kind == CountKind.MOLECULES


def test_little_is_not_enough_to_tell() -> None:
    assert finding(np.array([[2.0, 0, 4], [0, 6, 2]])) == (CountKind.MOLECULES, "")
    assert finding(np.zeros((5, 3))) == (CountKind.MOLECULES, "")


def test_statistics_of_mixtures_of_poisson_distributions() -> None:
    """What no mixture has: a gap, and a variance below the mean."""
    rng = np.random.default_rng(7)
    mixed = rng.poisson(rng.choice([1.0, 12.0], (4000, 20))).astype(float)
    for numbers, narrow in ((mixed, False), (np.rint(np.sqrt(mixed)), True), (np.rint(1.5 * mixed), False)):
        spectra, rows = Spectra(20), sparse.csr_array(numbers)
        spectra.add(rows)
        counted = np.bincount(numbers[numbers > 0].astype(int), minlength=N_OVERALL + 1)[1 : N_OVERALL + 1]
        np.testing.assert_array_equal(spectra.overall, counted)
        assert bool(np.median(spread(spectra.powers, (numbers > 0).sum(0))) < 0.8) == narrow
        assert bool(gap(spectra.overall)) == (numbers is not mixed)


def small_numbers(counts: Floats) -> NDArray[np.int64]:
    return np.stack([(counts == number).sum(axis=1) for number in range(1, N_SMALL + 1)], axis=1)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_factors_of_cells_are_seen_in_few_small_numbers(noise: float) -> None:
    """Sixty cells with a score of numbers each, scaled to one depth with errors, and as they were."""
    rng = np.random.default_rng(8)
    counts = rng.poisson(rng.gamma(1, 2, 40) * rng.lognormal(0, 0.5, (60, 1))).astype(float)
    corrected = np.rint(scaled(counts + 1e-9) * np.exp(noise * rng.normal(size=counts.shape)))
    assert evidence_of_factors(small_numbers(counts)) < -5
    assert evidence_of_factors(small_numbers(corrected)) > 8
    assert evidence_of_factors(small_numbers(counts)[:9]) == 0


@pytest.mark.parametrize("n_cells", [100, 10_000])
@pytest.mark.parametrize("depth", [0.0, 0.5])
@pytest.mark.parametrize("levels", [(10.0,), (1.0, 9.0), (2.0, 30.0), (0.5, 3.0, 12.0), (0.0, 2.5)])
def test_gaps_between_genes_are_no_factors(levels: tuple[float, ...], depth: float, n_cells: int) -> None:
    """Genes of a few levels leave gaps in each cell at other places, too, but not those of rounding."""
    rng = np.random.default_rng(12)
    mean = rng.choice(levels, (n_cells, 60)) * rng.lognormal(0, depth, (n_cells, 1))
    counts = rng.poisson(mean).astype(float)
    assert evidence_of_factors(small_numbers(counts)) < 0
    assert finding(counts).kind == CountKind.MOLECULES


def test_a_few_cells_alone_do_not_make_factors() -> None:
    rng = np.random.default_rng(13)
    counts = rng.poisson(rng.gamma(1, 2, (200, 100))).astype(float)
    counts[:5] *= 2
    assert evidence_of_factors(small_numbers(counts)) < 0


def test_a_warning_says_what_was_seen_and_what_to_do(molecules: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_counts(AnnData(molecules)).finding.kind == CountKind.MOLECULES
    with pytest.warns(UserWarning, match=r"adata\.X may hold reads: .* copies of molecules look like zero"):
        read_counts(AnnData(copies(molecules)))
    with pytest.warns(UserWarning, match=r"no counts of molecules: 100% of the numbers are even\. .* divide"):
        read_counts(AnnData(2 * molecules))
    assert all(advice(kind) for kind in CountKind if kind != CountKind.MOLECULES)


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
@pytest.mark.parametrize("factor", [1, 3])
def test_the_finding_is_kept_with_the_fit(counts: AnnData, tmp_path: Path, store: str, factor: int) -> None:
    counts.X = counts.X * factor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False)
        path = tmp_path / f"fit.{store}"
        getattr(counts, f"write_{store}")(path)
    params = getattr(ad, f"read_{store}")(path).uns["zinbtools"]["params"]
    expected = ("molecules", "") if factor == 1 else ("multiples", "100% of the numbers are multiples of 3")
    assert (str(params["counts"]), str(params["counts_sign"])) == expected


@pytest.mark.parametrize("name", MOLECULES)
def test_real_molecules_are_not_accused(shared_data: Path, name: str) -> None:
    adata = ad.read_h5ad(shared_data / "data" / f"{name}.h5ad")
    counts, rng = sparse.csr_array(adata.X), np.random.default_rng(0)
    for n_cells, n_genes in ((10_000, 100_000), (60, 50), (60, 1000), (300, 300)):
        some = counts[np.sort(rng.permutation(counts.shape[0])[:n_cells])]
        some = some[:, rng.permutation(counts.shape[1])[:n_genes]]
        some = some[np.ravel(some.sum(axis=1)) > 0]
        assert finding(some) == (CountKind.MOLECULES, "")


@pytest.mark.parametrize("name", ["cortex_zeisel2015", "pbmc3k", "kang2018_pbmc_ifnb2800"])
def test_variable_genes_of_one_type_are_not_accused(shared_data: Path, name: str) -> None:
    adata = ad.read_h5ad(shared_data / "data" / f"{name}.h5ad")
    for cells in adata.obs.groupby("cell_type", observed=True).indices.values():
        counts = sparse.csr_array(adata.X[np.sort(cells)], dtype=np.float64)
        variance = np.ravel(counts.power(2).mean(axis=0)) - np.ravel(counts.mean(axis=0)) ** 2
        for n_genes in (200, 300, 1000):
            assert finding(counts[:, np.argsort(-variance)[:n_genes]]) == (CountKind.MOLECULES, "")


@pytest.mark.parametrize("n_genes", [100, 200, 400, 800, 2000])
def test_variable_reads_are_named(shared_data: Path, n_genes: int) -> None:
    reads = sparse.csr_array(ad.read_h5ad(shared_data / "data" / "mousegut_smartseq2_reads.h5ad").X)
    dense = reads.toarray().astype(float)
    for variation in (dense.std(axis=0), dense.var(axis=0) / np.maximum(dense.mean(axis=0), 1e-9)):
        assert finding(reads[:, np.argsort(-variation)[:n_genes]]).kind == CountKind.READS


@pytest.mark.parametrize("name", ["pbmc3k", "pbmc4k_hvg2000", "rnamix_celseq2_mixology"])
def test_cells_within_a_window_of_totals_are_not_accused(shared_data: Path, name: str) -> None:
    counts = sparse.csr_array(ad.read_h5ad(shared_data / "data" / f"{name}.h5ad").X, dtype=np.float64)
    totals = np.ravel(counts.sum(axis=1))
    for quantile in (0.05, 0.3, 0.5, 0.8):
        low = np.quantile(totals, quantile)
        for high in (low + np.sqrt(low), low + 3 * np.sqrt(low), 1.3 * low, np.inf):
            some = counts[(totals >= low) & (totals <= high)]
            assert finding(some) == (CountKind.MOLECULES, "")


def test_molecules_drawn_to_one_depth_are_named_so(shared_data: Path) -> None:
    """With the cells that had less, and without some genes, where totals are nearly the same."""
    counts = sparse.csr_array(ad.read_h5ad(shared_data / "data" / "pbmc4k_hvg2000.h5ad").X)[:600]
    rng, depth = np.random.default_rng(16), 700
    rows = counts.toarray().astype(np.int64)
    drawn = np.stack([rng.multivariate_hypergeometric(x, min(depth, int(x.sum()))) for x in rows])
    found = finding(drawn.astype(float))
    assert found.kind == CountKind.DOWNSAMPLED
    assert "have the same total, 700, and none has more" in found.sign
    full = drawn[drawn.sum(axis=1) == depth]
    by_frequency = np.argsort(-full.sum(axis=0))
    found = finding(np.delete(full, by_frequency[50::10], axis=1).astype(float))
    assert found.kind == CountKind.DOWNSAMPLED
    assert "nearly the same total" in found.sign


@pytest.mark.parametrize("name", ["mousegut_smartseq2_reads", *MOLECULES[-2:]])
def test_real_reads_are_named(shared_data: Path, name: str) -> None:
    adata = ad.read_h5ad(shared_data / "data" / f"{name}.h5ad")
    reads = sparse.csr_array(adata.layers.get("reads", adata.X))
    genes = np.random.default_rng(0).permutation(np.flatnonzero(reads.sum(axis=0)))[:500]
    for some in (reads, reads[:, genes]):
        assert finding(some).kind == CountKind.READS
