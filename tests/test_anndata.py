"""What bad input gets: one sentence that says what is wrong and what to do, before any training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from bad_input import COLUMNS, COUNTS, SPLIT_CASES, Change, has_words
from compare import assert_same_anndata, assert_same_results
from scipy import sparse

import zinbtools as zt
from zinbtools._anndata import SPLITS, Results, read_split, spread, storable
from zinbtools._counts import read_counts
from zinbtools._keys import Keys
from zinbtools.model.compiled import _Replicate
from zinbtools.tl import _fit


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
    with pytest.warns(UserWarning, match=r"adata\.X holds numbers that are not whole; they are rounded\."):
        fit(other, check_counts=False)
    fit(counts)
    assert_same_results(other, counts, but=("check_counts",))


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
