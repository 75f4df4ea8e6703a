"""What bad input gets: one sentence that says what is wrong and what to do, before any training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scanpy
import torch
from anndata import AnnData
from bad_input import COLUMNS, COUNTS, SPLIT_CASES, Change, has_words
from compare import assert_same_anndata, assert_same_results
from scipy import sparse

import zinbtools as zt
from zinbtools._anndata.counts import read_counts
from zinbtools._anndata.reading import SPLITS, read_split
from zinbtools._anndata.results import Results, spread, storable
from zinbtools._record.keys import Keys
from zinbtools.model import training
from zinbtools.model.compiled import CompiledStack
from zinbtools.tl import _trained


def fit(adata: Any, **arguments: Any) -> Any:
    return zt.tl.fit_nb_zinb(adata, **{"max_epochs": 2, "progress": False} | arguments)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("the training was started")

    monkeypatch.setattr(_trained, "train_restarts", train)


def refused(adata: Any, error: type[Exception], words: tuple[str, ...], **arguments: Any) -> None:
    """The fit raises one sentence with these words and leaves the AnnData as it was."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        before = adata.copy() if isinstance(adata, AnnData) else None
    with pytest.raises(error) as caught:
        fit(adata, **arguments)
    has_words(caught.value, words)
    if before is not None:
        assert_same_anndata(adata, before)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("change", "error", "words", "arguments"), [*COUNTS, *COLUMNS, *SPLIT_CASES])
def test_bad_data_are_refused(
    counts: AnnData,
    change: Change | None,
    error: type[Exception],
    words: tuple[str, ...],
    arguments: dict[str, Any],
) -> None:
    changed = None if change is None else change(counts)
    refused(counts if changed is None else changed, error, words, **arguments)


# What simulations have no need of: masks, names of their own for genes, a count in every cell and gene.
OF_FITS = ("mask", "var_names", "cell", "genes without")
ALIKE = [case for case in [*COUNTS, COLUMNS[0]] if not any(word in case.id for word in OF_FITS)]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("change", "error", "words", "arguments"), [*ALIKE, *(c for c in COUNTS if c.id == "no cells")]
)
def test_fits_and_simulations_say_the_same_of_bad_counts(
    counts: AnnData,
    change: Change | None,
    error: type[Exception],
    words: tuple[str, ...],
    arguments: dict[str, Any],
) -> None:
    changed = None if change is None else change(counts)
    adata = counts if changed is None else changed
    told = []
    for function in (
        fit,
        zt.simulate.like,
        partial(zt.simulate.knockout, inflation=zt.simulate.Uniform(0.1)),
    ):
        with pytest.raises(error) as caught:
            function(adata, **arguments)
        told.append(caught.value.args[0])
    has_words(caught.value, words)
    assert len(set(told)) == 1, told


@pytest.mark.parametrize("kind", ["fit", "simulation"])
def test_the_largest_count_is_the_same_everywhere(counts: AnnData, kind: str) -> None:
    numbers = counts.X.toarray().astype(np.float64)
    numbers[3, 4] = 2**31 - 1
    adata = AnnData(numbers)
    if kind == "fit":
        fit(adata, max_epochs=1)
    else:
        assert zt.simulate.knockout(adata, zt.simulate.Uniform(0.0)).X[3, 4] == 2**31 - 1
    adata.X[3, 4] += 1
    with pytest.raises(ValueError, match=r"holds 2\.14748e\+09, more than the largest count allowed, 2\^31"):
        fit(adata) if kind == "fit" else zt.simulate.like(adata)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("argument", "value", "hint"),
    [
        ("models", "poisson", "'zinb'"),
        ("models", ("nb", "zip"), "'zinb'"),
        ("models", (), "'zinb'"),
        ("protocol", "blog", "'blog2019'"),
        ("dispersion", "cell", "'gene-batch'"),
        ("library", "known", "one of 'latent', 'observed'"),
        ("library", "size_factor", "one of 'latent', 'observed'"),
        ("layers", ("mean", "variance"), "'dropout'"),
        ("layers", "variance", "'dropout'"),
        ("device", "abacus", "'auto'"),
        ("device", "mps", "'auto', 'cpu' or 'cuda'"),
        ("n_restarts", 0, "at least 1"),
        ("n_restarts", 1.5, "whole number"),
        ("n_draws", 0, "at least 1"),
        ("n_jobs", 0, "at least 1"),
        ("n_jobs", "all", "whole number of at least 1 and below 2^31 or 'auto'"),
        ("executor", 4, "concurrent.futures.Executor"),
        ("n_latent", 0, "at least 1"),
        ("n_latent", 2.5, "whole number"),
        ("n_hidden", 0, "at least 1"),
        ("n_layers", 0, "at least 1"),
        ("dropout_rate", 1.5, "below 1"),
        ("dropout_rate", 1, "below 1"),
        ("dropout_rate", -0.1, "from 0"),
        ("batch_size", 1, "at least 2"),
        ("max_epochs", 0, "at least 1"),
        ("learning_rate", 0, "above 0"),
        ("learning_rate", -0.001, "above 0"),
        ("learning_rate", np.inf, "finite"),
        ("key_added", "a/b", "'/'"),
        ("rng", -1, "of at least 0"),
        ("rng", "today", "Generator"),
        ("rng", [3], "SeedSequence"),
    ],
)
def test_bad_settings_are_refused(counts: AnnData, argument: str, value: object, hint: str) -> None:
    error = TypeError if argument in ("rng", "executor") else ValueError
    refused(counts, error, (argument, repr(value), hint), **{argument: value})


def test_a_view_is_made_actual(counts: AnnData) -> None:
    before, view = counts.copy(), counts[:250]
    with pytest.warns(UserWarning, match="adata is a view"):
        fit(view)
    assert not view.is_view
    assert view.obsm["X_nb"].shape == (250, 10)
    assert_same_anndata(counts, before)


def test_a_copy_of_a_view_leaves_it_a_view(counts: AnnData) -> None:
    view = counts[:250]
    changed = fit(view, copy=True)
    assert view.is_view
    assert "X_nb" in changed.obsm
    assert "X_nb" not in view.obsm


def test_numbers_that_are_not_whole_are_rounded_on_request(counts: AnnData) -> None:
    other = counts.copy()
    other.X = counts.X.toarray() + np.where(counts.X.toarray() > 0, 0.3, 0.0)
    with pytest.warns(UserWarning, match=r"adata\.X holds numbers that are not whole; they are rounded\."):
        fit(other, check_counts=False)
    fit(counts)
    assert_same_results(other, counts, but=("check_counts",))


@pytest.mark.parametrize(("layer", "mask_var"), [(None, None), (None, "even"), ("u", None), ("u", "even")])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, np.asarray])
def test_what_is_said_of_empty_cells_and_genes_can_be_done(
    counts: AnnData, layer: str | None, mask_var: str | None, kind: Callable[[np.ndarray], Any]
) -> None:
    numbers = counts.X.toarray()
    numbers[3:9, counts.var["even"]], numbers[12] = 0, 0
    numbers[:, [0, 2, 5]] = 0
    counts.layers["u"] = kind(numbers)
    if layer is None:
        counts.X = counts.layers["u"]
    adata = counts
    for _ in range(2):
        with pytest.raises(ValueError, match="remove them: ") as caught:
            read_counts(adata, layer, mask_var)
        told = str(caught.value).partition("remove them: ")[2].rstrip(".")
        if told.startswith("as sc.pp"):
            told = told.removeprefix("as ").removesuffix(" does")
        names = {"adata": adata, "np": np, "sc": scanpy}
        exec(told, names)
        adata = names["adata"]
    assert read_counts(adata, layer, mask_var).matrix.shape[0] in (293, 299)


def scaled(counts: np.ndarray, total: float) -> np.ndarray:
    return np.rint(counts / counts.sum(1, keepdims=True) * total)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, rng: 2 * x, "100% of the numbers are even"),
        (lambda x, rng: x + rng.binomial(x, 0.8), "of the numbers are even"),
        (lambda x, rng: 10 * x, "100% of the numbers are multiples of 10"),
        (lambda x, rng: scaled(x, 1e4), "next larger ones are rare"),
        (lambda x, rng: scaled(9 * x + rng.poisson(30, x.shape), 1e4), "nearly the same total"),
    ],
)
def test_whole_numbers_that_may_be_no_counts_are_named(
    change: Callable[[np.ndarray, np.random.Generator], np.ndarray], words: str
) -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(
        rng.gamma(1, np.exp(rng.normal(-0.5, 1, 150)), (400, 150)) * rng.gamma(4, 0.5, (400, 1))
    )
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 20]
    for number, expected in ((counts, False), (change(counts, rng), True)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read_counts(AnnData(number.astype(np.float32)), empty_genes=True)
        assert any(words in str(w.message) for w in caught) == expected


@pytest.mark.parametrize("number", [1, 2, 3, 8, 300])
def test_panels_with_high_counts_are_no_multiples(number: int) -> None:
    """Three features or twenty, none of whose counts is small."""
    rng = np.random.default_rng(0)
    for n_features in (3, 20):
        read_counts(AnnData(1 + rng.poisson(number, (500, n_features)).astype(np.float32)))


def test_cells_that_are_there_twice_are_named(counts: AnnData) -> None:
    twice = AnnData(np.repeat(counts.X.toarray(), 2, axis=0))
    with pytest.warns(UserWarning, match="300 cells have the same counts as another cell"):
        read_counts(twice)


def test_the_arrays_of_the_counts_are_left_as_they_are(counts: AnnData) -> None:
    """Explicit zeros, unsorted indices and duplicates are put in order in a copy."""
    X = sparse.csr_matrix(
        (np.array([2.0, 0, 1, 3, 1, 1], np.float32), np.array([1, 0, 0, 0, 1, 1]), np.array([0, 3, 4, 6])),
        shape=(3, 2),
    )
    adata = AnnData(X)
    arrays = [array.copy() for array in (adata.X.data, adata.X.indices, adata.X.indptr)]
    matrix = read_counts(adata).matrix
    assert matrix.toarray().tolist() == [[1, 2], [3, 0], [0, 2]]
    assert matrix.has_canonical_format
    for array, before in zip((adata.X.data, adata.X.indices, adata.X.indptr), arrays, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int32, np.int64, np.uint64, np.float64])
def test_any_numeric_type_is_read(dtype: type) -> None:
    matrix = read_counts(AnnData(sparse.csr_matrix(np.eye(4, dtype=np.int64).astype(dtype)))).matrix
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix.toarray(), np.eye(4))


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.71, 0.18, 0.11)])
def test_shares_are_kept(counts: AnnData, shares: tuple[float, float, float]) -> None:
    labels = read_split(counts, shares, np.random.SeedSequence(0))
    sizes = {name: int((labels == name).sum()) for name in SPLITS}
    assert sizes["validation"] == round(300 * shares[1])
    assert sizes["test"] == round(300 * shares[2])
    assert sum(sizes.values()) == 300
    other = read_split(counts, shares, np.random.SeedSequence(1))
    assert (labels != other).any()


def test_values_are_spread_among_all_genes() -> None:
    values = spread(np.array([[1.0, 2.0]]), np.array([2, 0]), 3)
    np.testing.assert_array_equal(values, [[2, np.nan, 1]])


def test_what_cannot_be_stored_is_left_out() -> None:
    kept = storable({"a": None, "b": [], "c": {"d": None}, "e": ["x"], "f": 0, "g": False, "h": np.zeros(2)})
    assert set(kept) == {"e", "f", "g", "h"}
    assert kept["e"].tolist() == ["x"]


def test_results_take_away_what_is_left_of_an_earlier_fit(counts: AnnData) -> None:
    keys = Keys("run")
    for place, names in keys.all_names().items():
        for name in names:
            length = counts.n_vars if place == "var" else counts.n_obs
            values = np.zeros((length, counts.n_vars if place == "layers" else 2))
            getattr(counts, place)[name] = values if place in ("layers", "obsm") else np.zeros(length)
    before = set(counts.obs) | set(counts.var)
    Results(var={keys.score: np.ones(counts.n_vars)}, uns={"params": {}}).write(counts, keys)
    left = {
        name for place, names in keys.all_names().items() for name in names if name in getattr(counts, place)
    }
    assert left == {"run_zi_score"}
    assert (counts.var["run_zi_score"] == 1).all()
    assert {"sample", "donor", "even"} <= set(counts.obs) | set(counts.var) < before


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("key", ["", " ", ".", "a/b", "a\0b", "a\nb", "\ud800"])
def test_keys_that_files_cannot_hold_are_refused(counts: AnnData, key: str) -> None:
    refused(counts, ValueError, ("key_added", repr(key)), key_added=key)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("place", "name", "value", "key"),
    [
        ("uns", "neighbors", {"params": {}, "connectivities_key": "connectivities"}, "neighbors"),
        ("uns", "log1p", {"base": None}, "log1p"),
        ("uns", "zinbtools", {"my": "notes"}, None),
        ("uns", "zinbtools", "notes", None),
        ("layers", "nb_mean", np.ones((300, 50)), None),
        ("obsm", "X_run_nb", np.ones((300, 2)), "run"),
        ("var", "zi_score", np.ones(50), None),
    ],
)
def test_what_is_not_ours_is_never_overwritten(
    counts: AnnData, place: str, name: str, value: object, key: str | None
) -> None:
    getattr(counts, place)[name] = value
    refused(counts, ValueError, (f"adata.{place}[{name!r}]", "lost", "key_added"), key_added=key)


@pytest.mark.parametrize(
    "names",
    [
        pd.RangeIndex(50),
        pd.Index(np.arange(50)[::-1] + 7157),
        pd.Index(np.arange(50) + 0.5),
        pd.Index([f"g{i}".encode() for i in range(50)]),
        pd.CategoricalIndex([f"g{i}" for i in range(50)]),
        pd.Index([0, *(f"g{i}" for i in range(49))], dtype=object),
        pd.MultiIndex.from_arrays([[f"g{i}" for i in range(50)], ["x"] * 50]),
    ],
    ids=["range", "int", "float", "bytes", "categorical", "mixed", "tuples"],
)
def test_genes_may_have_any_names(counts: AnnData, names: pd.Index) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's
        counts.var_names = names
    zt.tl.model_selection(counts, n_restarts=1, folds=1, n_samples=2, n_null=2, max_epochs=2, progress=False)
    zt.tl.zi_scores(counts)
    zt.tl.zero_test(counts)
    table = zt.get.zi_genes_df(counts)
    assert table["family"].notna().all()
    assert zt.get.gene_df(counts, table.index[0])["observed"].sum() == counts.n_obs
    block = zt.get.expected_counts(counts, var=list(table.index[:2]))
    assert block.shape == (counts.n_obs, 2)
    assert np.isfinite(block).all(axis=None)


@pytest.mark.usefixtures("no_training")
def test_genes_whose_names_are_alike_as_text_are_refused(counts: AnnData) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's
        counts.var_names = pd.Index([1, "1", *counts.var_names[2:]], dtype=object)
    with pytest.raises(ValueError, match=r"var_names must be unique as text, found '1' twice; call adata\."):
        fit(counts)


@pytest.mark.parametrize("share", [0.1, 1e-9])
@pytest.mark.parametrize("n", [8, 14, 300])
def test_two_cells_at_least_are_for_testing(counts: AnnData, n: int, share: float) -> None:
    labels = read_split(counts[:n], (0.9 - share, 0.1, share), np.random.SeedSequence(0))
    assert (labels == "test").sum() == max(2, round(share * n))


def test_batches_that_training_does_not_see_are_named(counts: AnnData) -> None:
    counts.obs["part"] = np.where(counts.obs["donor"] == "z", "test", "train")
    counts.obs.loc[counts.obs_names[::7], "part"] = "validation"
    counts.obs["part"] = np.where(counts.obs["donor"] == "z", "test", counts.obs["part"])
    with pytest.warns(
        UserWarning, match=r"1 of the 3 values of obs\['donor'\] have no training cell \('z'\)"
    ):
        fit(counts, batch_key="donor", split="part")


def test_a_failed_training_leaves_the_anndata_as_it_was(fitted: AnnData) -> None:
    before = fitted.copy()
    message = (
        r"No fit: the loss of the NB model, restart 0, was not finite at step \d+ of epoch \d+ \(.*gene.*\)"
        r": try a smaller learning_rate, or look for extreme counts or size factors\.$"
    )
    with pytest.raises(RuntimeError, match=message):
        fit(fitted, learning_rate=1e30)
    assert_same_anndata(fitted, before)


def break_second_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ZINB's loss of the second of two restarts becomes NaN in the second epoch."""
    start, step, started = CompiledStack.__init__, CompiledStack.step, []

    def remember(self: Any, *arguments: Any) -> None:
        start(self, *arguments)
        n_restarts = len(self._n_steps) if self._inflated else 0
        self.numbers = range(len(started), len(started) + n_restarts)
        started.extend(self.numbers)

    def failing(self: Any, *arguments: Any) -> torch.Tensor:
        elbo = step(self, *arguments).clone()
        for place, state in enumerate(zip(self.numbers, self._n_steps, strict=False)):
            if state == (1, 3):
                elbo[place] = np.nan
        return elbo

    monkeypatch.setattr(CompiledStack, "__init__", remember)
    monkeypatch.setattr(CompiledStack, "step", failing)
    monkeypatch.setattr(training, "_MOST_LOST", 1)


def test_one_failed_restart_is_recorded_and_left_out(
    counts: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_second_restart(monkeypatch)
    with pytest.warns(RuntimeWarning, match=r"A restart is left out: .*ZINB model, restart 1.*epoch 1"):
        fit(counts, n_restarts=2, max_epochs=3, batch_size=128)
    zt.tl.marginal_ll(counts, n_samples=2)
    zt.tl.ppc(counts, n_samples=2)
    zt.tl.zi_scores(counts)
    results = counts.uns["zinbtools"]
    failures = results["failures"]
    assert failures[["model", "restart", "epoch", "step"]].to_numpy().tolist() == [["zinb", 1, 1, 2]]
    assert "smaller learning_rate" in failures["message"].iloc[0]
    assert results["params"]["best_restart"]["zinb"] == 0
    restarts = results["metrics"].groupby(["model", "metric"])["restart"].unique().map(sorted)
    assert set(restarts["nb"].map(tuple)) == {(0, 1)}
    assert set(restarts["zinb"].map(tuple)) == {(0,)}
    assert np.isfinite(results["metrics"]["value"]).all()
    epochs = results["history"].query("model == 'zinb'").groupby("restart")["epoch"].max()
    assert epochs.to_dict() == {0: 2, 1: 0}
    with pytest.raises(ValueError, match=r"restart must be .* \(0\), found 1"):
        zt.get.model(counts, "zinb", restart=1)


def test_a_failed_restart_does_not_disturb_the_other(
    counts: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(counts, n_restarts=2, max_epochs=3, copy=True)
    break_second_restart(monkeypatch)
    with pytest.warns(RuntimeWarning, match="left out"):
        fit(counts, n_restarts=2, max_epochs=3)
    first, second = (
        a.uns["zinbtools"]["history"].query("restart == 0").set_index(["model", "epoch"])
        for a in (whole, counts)
    )
    pd.testing.assert_frame_equal(first.loc["nb"], second.loc["nb"], check_exact=True)
    pd.testing.assert_frame_equal(first.loc["zinb"], second.loc["zinb"], rtol=1e-3)  # rounding only
