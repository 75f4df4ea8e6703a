"""What bad input gets: one sentence that says what is wrong and what to do, before any training."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same_anndata, assert_same_results
from scipy import sparse

import zinbtools as zt
from zinbtools._anndata import SPLITS, Results, read_counts, read_split, spread, storable
from zinbtools._keys import Keys
from zinbtools.model.compiled import _Replicate
from zinbtools.tl import _fit

Change = Callable[[AnnData], AnnData | None]


def fit(adata: Any, **arguments: Any) -> Any:
    return zt.tl.fit_nb_zinb(adata, **{"max_epochs": 2, "progress": False} | arguments)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("the training was started")

    monkeypatch.setattr(_fit, "train_restarts", train)


def refused(adata: Any, error: type[Exception], words: tuple[str, ...], **arguments: Any) -> None:
    """The fit raises one sentence with these words and leaves the AnnData as it was."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        before = adata.copy() if isinstance(adata, AnnData) else None
    with pytest.raises(error) as caught:
        fit(adata, **arguments)
    message = caught.value.args[0]
    assert [word for word in words if word not in message] == [], message
    assert message.endswith(".")
    assert ".\n" not in message
    if before is not None:
        assert_same_anndata(adata, before)


def case(name: str, change: Change | None, error: type[Exception], *words: str, **arguments: Any) -> Any:
    return pytest.param(change, error, words, arguments, id=name)


def dense(values: Callable[[np.ndarray], np.ndarray], layer: str | None = None) -> Change:
    """Replace the counts by a function of them."""

    def change(adata: AnnData) -> None:
        changed = values(adata.X.toarray().astype(np.float64))
        if layer is None:
            adata.X = changed
        else:
            adata.layers[layer] = changed

    return change


def entry(value: float) -> Change:
    """Put one number among the counts."""

    def change(counts: np.ndarray) -> np.ndarray:
        counts[3, 4] = value
        return counts

    return dense(change)


def column(name: str, values: Callable[[AnnData], Any]) -> Change:
    """Add a column to ``obs``."""

    def change(adata: AnnData) -> None:
        adata.obs[name] = values(adata)

    return change


def first(value: object, rest: object) -> Callable[[AnnData], list[object]]:
    return lambda adata: [value] + [rest] * (adata.n_obs - 1)


def without_cells(adata: AnnData) -> None:
    adata.X = sparse.diags_array((np.arange(adata.n_obs) > 1).astype(float)) @ adata.X.toarray()


def without_genes(adata: AnnData) -> None:
    adata.X = adata.X.toarray() * (np.arange(adata.n_vars) > 3)


def with_raw(adata: AnnData) -> None:
    adata.raw = adata.copy()
    adata.X = np.log1p(adata.X.toarray())


def twice_the_name(adata: AnnData) -> None:
    adata.var_names = ["same", "same", *adata.var_names[2:]]


def chunked_along_genes(adata: AnnData) -> None:
    array = pytest.importorskip("dask.array")
    adata.X = array.from_array(adata.X.toarray(), chunks=(100, 25))


def few(n: int) -> Change:
    def change(adata: AnnData) -> AnnData:
        small = adata[:n].copy()
        return small[:, np.asarray(small.X.sum(axis=0)).ravel() > 0].copy()

    return change


def mask_with_cell_without_count(adata: AnnData) -> None:
    counts = adata.X.toarray()
    counts[5, adata.var["even"]] = 0
    adata.X = counts


RAW = "layer='true_counts'"

COUNTS = [
    case("not an AnnData", lambda _: np.ones((3, 3)), TypeError, "adata", "AnnData", "ndarray"),
    case("no cells", lambda a: a[:0].copy(), ValueError, "0 cells", "50 genes"),
    case("negative", entry(-2), ValueError, "adata.X", "negative", "-2", "raw counts", RAW),
    case("NaN", entry(np.nan), ValueError, "adata.X", "1 numbers", "NaN"),
    case("infinite", entry(np.inf), ValueError, "adata.X", "1 numbers", "infinite"),
    case("not whole", entry(30.5), ValueError, "adata.X", "not whole", "normalised", "raw counts", RAW),
    case("log-transformed", dense(np.log1p), ValueError, "adata.X", "log-transformed", "raw counts", RAW),
    case("with raw", with_raw, ValueError, "log-transformed", "adata.raw.to_adata()"),
    case("scaled", dense(lambda x: x - x.mean(0)), ValueError, "adata.X", "negative", "scaled", RAW),
    case(
        "scaled layer",
        dense(lambda x: x - x.mean(0), "z"),
        ValueError,
        "layer 'z'",
        "scaled",
        "layer=None (X) or layer='true_counts'.",
        layer="z",
    ),
    case("too large", entry(2.0**40), ValueError, "adata.X", "1.09951e+12", "2^31"),
    case("text", dense(lambda x: x.astype(str).astype(object)), TypeError, "numbers", "object"),
    case("empty cells", without_cells, ValueError, "2 cells", "cell_000", "cell_001", "filter_cells"),
    case("genes without a count", without_genes, ValueError, "4 genes", "gene_00", "...", "filter_genes"),
    case(
        "genes within mask_var",
        without_genes,
        ValueError,
        "2 genes",
        "within mask_var",
        "gene_00",
        "gene_02",
        mask_var="even",
    ),
    case(
        "cell within mask_var",
        mask_with_cell_without_count,
        ValueError,
        "1 cells",
        "within mask_var",
        "cell_005",
        mask_var="even",
    ),
    case("duplicate var_names", twice_the_name, ValueError, "var_names", "'same'", "make_unique"),
    case("dask along genes", chunked_along_genes, ValueError, "dask", "2 chunks", "rechunk"),
]

COLUMNS = [
    case("layer", None, KeyError, "layer 'raw'", "true_counts", layer="raw"),
    case("mask_var", None, KeyError, "mask_var", "'hvg'", "even", mask_var="hvg"),
    case("mask not boolean", None, ValueError, "mask_var", "boolean", "int64", mask_var=np.arange(50)),
    case("mask too short", None, ValueError, "mask_var", "50", "(3,)", mask_var=np.ones(3, dtype=bool)),
    case("mask of nothing", None, ValueError, "mask_var", "no gene", mask_var=np.zeros(50, dtype=bool)),
    *(
        case(f"no {argument}", None, KeyError, argument, "'nowhere'", "adata.obs", "donor", **{argument: key})
        for argument, key in {
            "batch_key": "nowhere",
            "categorical_covariate_keys": ["donor", "nowhere"],
            "continuous_covariate_keys": ["age", "nowhere"],
            "size_factor_key": "nowhere",
            "split": "nowhere",
        }.items()
    ),
    *(
        case(
            f"NaN in {argument}",
            column("holes", first(np.nan, "p")),
            ValueError,
            argument,
            "'holes'",
            "1 cells",
            "fill or drop",
            **{argument: "holes"},
        )
        for argument in ("batch_key", "categorical_covariate_keys")
    ),
    *(
        case(
            f"{value} in {argument}",
            column("holes", first(value, 1.0)),
            ValueError,
            argument,
            "'holes'",
            "1 cells",
            "fill or drop",
            **{argument: "holes"},
        )
        for argument in ("continuous_covariate_keys", "size_factor_key")
        for value in (np.nan, np.inf)
    ),
    *(
        case(f"text in {argument}", None, TypeError, argument, "'donor'", "numeric", **{argument: "donor"})
        for argument in ("continuous_covariate_keys", "size_factor_key")
    ),
    *(
        case(
            f"size factor {value}",
            column("sf", first(value, 1.0)),
            ValueError,
            "size_factor_key",
            "'sf'",
            "positive",
            size_factor_key="sf",
        )
        for value in (0.0, -1.0)
    ),
    case(
        "constant covariate",
        column("same", first(0.1, 0.1)),
        ValueError,
        "continuous_covariate_keys",
        "'same'",
        "does not vary",
        continuous_covariate_keys="same",
    ),
    case(
        "batch of one cell",
        column("lone", first("me", "them")),
        ValueError,
        "batch_key",
        "'me'",
        "one cell",
        "merge",
        batch_key="lone",
    ),
    case(
        "batch key twice",
        None,
        ValueError,
        "categorical_covariate_keys",
        "'sample'",
        "batch_key",
        batch_key="sample",
        categorical_covariate_keys=["donor", "sample"],
    ),
]

SPLIT_CASES = [
    case("sum", None, ValueError, "split", "sum to 1", "(0.8, 0.1, 0.2)", split=(0.8, 0.1, 0.2)),
    case("negative share", None, ValueError, "split", "three shares", split=(1.2, -0.1, -0.1)),
    case("two shares", None, ValueError, "split", "three shares", "(0.8, 0.2)", split=(0.8, 0.2)),
    case("one number", None, ValueError, "split", "three shares", "0.8", split=0.8),
    case("words as shares", None, ValueError, "split", "three shares", split=("train", "test", "")),
    case("no validation", None, ValueError, "split", "0 validation cells", split=(0.9, 0.0, 0.1)),
    case("no test", None, ValueError, "split", "0 test cells", split=(0.9, 0.1, 0.0)),
    case("no training", None, ValueError, "split", "0 train cells", split=(0.0, 0.5, 0.5)),
    case("few cells", few(4), ValueError, "split", "0 validation cells of 4"),
    case(
        "unknown word",
        column("part", first("holdout", "train")),
        ValueError,
        "split column 'part'",
        "'validation'",
        "'holdout'",
        split="part",
    ),
    case(
        "NaN word",
        column("part", first(np.nan, "train")),
        ValueError,
        "'part'",
        "'train'",
        "nan",
        split="part",
    ),
    case(
        "lacks test", column("part", first("validation", "train")), ValueError, "0 test cells", split="part"
    ),
]


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


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("argument", "value", "hint"),
    [
        ("models", "poisson", "'zinb'"),
        ("models", ("nb", "zip"), "'zinb'"),
        ("models", (), "'zinb'"),
        ("protocol", "blog", "'blog2019'"),
        ("dispersion", "cell", "'gene-batch'"),
        ("library", "known", "size_factor_key"),
        ("library", "size_factor", "size_factor_key"),
        ("layers", ("mean", "variance"), "'dropout'"),
        ("layers", "variance", "'dropout'"),
        ("device", "abacus", "'auto'"),
        ("device", "mps", "double precision"),
        ("n_restarts", 0, "at least 1"),
        ("n_restarts", 1.5, "whole number"),
        ("n_draws", 0, "at least 1"),
        ("n_jobs", 0, "at least 1"),
        ("n_jobs", "all", "whole number"),
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
        ("learning_rate", 0, "positive"),
        ("learning_rate", -0.001, "positive"),
        ("learning_rate", np.inf, "finite"),
        ("key_added", "a/b", "'/'"),
        ("rng", -1, "non-negative"),
        ("rng", "today", "Generator"),
        ("rng", None, "SeedSequence"),
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
    with pytest.warns(UserWarning, match=r"adata\.X holds numbers that are not whole.*; they are rounded\."):
        fit(other, check_counts=False)
    fit(counts)
    assert_same_results(other, counts)


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
    genes = np.array([True, False, True])
    np.testing.assert_array_equal(spread(np.array([[1.0, 2.0]]), genes), [[1, np.nan, 2]])


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
    start, step, started = _Replicate.__init__, _Replicate.step, []

    def remember(self: Any, *arguments: Any) -> None:
        start(self, *arguments)
        started.append(self.zero_inflated)
        self.number = sum(started)

    def failing(self: Any, *arguments: Any) -> float:
        elbo = step(self, *arguments)
        return np.nan if (self.zero_inflated, self.number, self._n_steps) == (True, 2, 3) else elbo

    monkeypatch.setattr(_Replicate, "__init__", remember)
    monkeypatch.setattr(_Replicate, "step", failing)


def test_one_failed_restart_is_recorded_and_left_out(
    counts: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_second_restart(monkeypatch)
    with pytest.warns(RuntimeWarning, match=r"A restart is left out: .*ZINB model, restart 1.*epoch 1"):
        fit(counts, n_restarts=2, max_epochs=3)
    zt.tl.marginal_ll(counts, n_samples=2)
    zt.tl.ppc(counts, n_samples=2)
    zt.tl.zi_scores(counts, n_samples=2)
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
