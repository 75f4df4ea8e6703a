"""Bad input for all verbs but the fit, which test_anndata.py holds; and input that nobody thought of."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from bad_input import COLUMNS, COUNTS, SPLIT_CASES, Change, has_words
from compare import assert_same_anndata
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

import zinbtools as zt
from zinbtools.tl import _trained, _tune

Verb = Callable[..., Any]


def named(cases: list[Any], *names: str) -> list[Any]:
    """The cases of these names, or all but those that begin with a minus."""
    left_out = {name[1:] for name in names if name.startswith("-")}
    found = [c for c in cases if (c.id not in left_out if left_out else c.id in names)]
    assert len(found) == (len(cases) - len(left_out) if left_out else len(names))
    return found


def refused(verb: Verb, adata: Any, error: type[Exception], words: tuple[str, ...], **arguments: Any) -> None:
    """The verb raises one sentence with these words and leaves the AnnData as it was."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        before = adata.copy() if isinstance(adata, AnnData) else None
    with pytest.raises(error) as caught:
        verb(adata, **arguments)
    has_words(caught.value, words)
    if before is not None:
        assert_same_anndata(adata, before)


@pytest.fixture
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("the training was started")

    monkeypatch.setattr(_trained, "train_restarts", train)
    monkeypatch.setattr(_tune, "run_searches", train)


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize(("change", "error", "words", "arguments"), [*COUNTS, *COLUMNS, *SPLIT_CASES])
def test_a_search_refuses_what_a_fit_does(
    counts: AnnData, change: Change, error: type[Exception], words: tuple[str, ...], arguments: dict[str, Any]
) -> None:
    changed = change(counts) if change else None
    adata = counts if changed is None else changed
    refused(zt.tl.tune, adata, error, words, max_evals=1, progress=False, **arguments)


# genes without a count have a row without numbers
OF_ZERO_TEST = named(COUNTS, "-genes without a count", "-genes within mask_var")
OF_MASK = named(COLUMNS, "layer", "mask_var", "mask not boolean", "mask too short", "mask of nothing")
OF_BATCHES = named(COLUMNS, "no batch_key", "NaN in batch_key")


@pytest.mark.parametrize(("change", "error", "words", "arguments"), [*OF_ZERO_TEST, *OF_MASK, *OF_BATCHES])
def test_the_zero_test_refuses_it_too(
    counts: AnnData, change: Change, error: type[Exception], words: tuple[str, ...], arguments: dict[str, Any]
) -> None:
    changed = change(counts) if change else None
    refused(zt.tl.zero_test, counts if changed is None else changed, error, words, **arguments)


AFTER_A_FIT: dict[str, Verb] = {
    "marginal_ll": lambda adata, **kw: zt.tl.marginal_ll(adata, n_samples=2, **kw),
    "ppc": lambda adata, **kw: zt.tl.ppc(adata, n_samples=1, n_null=0, **kw),
    "zi_scores": zt.tl.zi_scores,
    "explain_zeros": zt.tl.explain_zeros,
    "zi_scores twins": lambda adata, **kw: zt.tl.zi_scores(adata, n_bootstrap=1, **kw),
    "zi_replication": zt.tl.zi_replication,
    "zi_scores predictive": lambda adata, **kw: zt.tl.zi_scores(
        adata, method="predictive", n_samples=1, **kw
    ),
    "expected_counts": zt.get.expected_counts,
    "posterior_dropout": zt.get.posterior_dropout,
}
UNREADABLE = named(COUNTS, "not an AnnData", "text", "dask along genes")
SPOILED = [
    pytest.param(c.values[0], ValueError, ("adata.X no longer holds the counts", "cells differ"), {}, id=c.id)
    for c in named(COUNTS, "negative", "NaN", "infinite", "too large", "empty cells")
]


@pytest.mark.parametrize("verb", AFTER_A_FIT)
@pytest.mark.parametrize(("change", "error", "words", "arguments"), [*UNREADABLE, *SPOILED])
def test_counts_spoiled_after_the_fit_are_refused(
    verb: str,
    fitted: AnnData,
    change: Change,
    error: type[Exception],
    words: tuple[str, ...],
    arguments: dict[str, Any],
) -> None:
    changed = change(fitted)
    refused(AFTER_A_FIT[verb], fitted if changed is None else changed, error, words)


@pytest.mark.parametrize("verb", AFTER_A_FIT)
def test_there_must_be_a_fit_of_that_name_and_of_these_genes(verb: str, fitted: AnnData) -> None:
    call = AFTER_A_FIT[verb]
    refused(
        call, fitted, KeyError, ("uns['other']", "zt.tl.fit_nb_zinb(adata, key_added='other')"), key="other"
    )
    refused(call, fitted[:, 1:].copy(), ValueError, ("1 of the 50 genes", "'gene_00'", "fit again"))


# weights and settings from somebody's file


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.pop(name)


def _changed(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(arrays: dict[str, Any]) -> None:
        arrays[name] = change(np.array(arrays[name]))

    return apply


def _spoiled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.where(np.arange(array.size).reshape(array.shape) == array.size - 1, value, array)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("scale.bias"), ("lacks 'scale.bias'",)),
        (_without("encoder.mean.weight"), ("lacks 'encoder.mean.weight'",)),
        (_changed("scale.weight", lambda a: a[..., :-1]), ("'scale.weight'", "shape (1, 128, 50)")),
        (_changed("scale.weight", lambda a: a.astype(str)), ("'scale.weight'", "floats", "<U")),
        (_changed("log_theta", lambda a: np.float32(1.0)), ("'log_theta'", "shape (1, 1, 50)", "()")),
        (_changed("log_theta", lambda a: np.full_like(a, np.nan)), ("'log_theta'", "not finite")),
        (_changed("library_variance", lambda a: -a), ("'library_variance'", "negative or not finite")),
        (_changed("scale.bias", lambda a: a * np.inf), ("'scale.bias'", "not finite")),
        (lambda arrays: arrays.update(extra=np.zeros(3)), ("has no use for 'extra'",)),
    ],
)
def test_weights_must_be_those_of_the_model(
    fitted: AnnData, change: Callable[[dict[str, Any]], None], words: tuple[str, ...]
) -> None:
    change(fitted.uns["zinbtools"]["weights"]["nb"])
    for verb in (zt.get.model, zt.get.expected_counts):
        refused(
            verb, fitted, ValueError, ("uns['zinbtools']['weights']['nb']", "fit again", *words), model="nb"
        )
    refused(AFTER_A_FIT["marginal_ll"], fitted, ValueError, words)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("n_hidden", 10**12, ("'encoder.blocks.0.linear.weight'", "shape")),
        ("n_layers", 10**9, ("n_layers=1000000000",)),
        ("n_latent", 0, ("n_latent must be a whole number",)),
        ("dispersion", "no", ("dispersion must be one of",)),
        ("n_latent", None, ("lacks 'n_latent'",)),
    ],
)
def test_settings_must_be_those_of_the_weights(
    fitted: AnnData, name: str, value: Any, words: tuple[str, ...]
) -> None:
    params = fitted.uns["zinbtools"]["params"]
    if value is None:
        del params[name]
    else:
        params[name] = value
    refused(zt.get.model, fitted, ValueError, words, model="zinb")


def test_indices_beyond_a_matrix_are_refused(counts: AnnData) -> None:
    """scipy would write there."""
    counts.X = sparse.csr_matrix(counts.X)
    counts.X.indices[7] = 50
    with pytest.raises(ValueError, match="a sparse matrix is broken"):
        zt.tl.zero_test(counts)
    counts.X.indices[7] = -1
    with pytest.raises(ValueError, match="a sparse matrix is broken"):
        zt.tl.fit_nb_zinb(counts, progress=False)


# what nobody thought of


class Reached(Exception):
    """The training would start."""


DTYPES = [bool, np.int8, np.uint8, np.int32, np.uint32, np.int64, np.float16, np.float32, np.float64]
FORMATS: list[Callable[[np.ndarray], Any]] = [
    np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array
]  # fmt: skip
COLUMN = st.sampled_from(["words", "numbers", "holes", "lone", "same", "truth", "absent", "", "a/b"])


@st.composite
def hostile(draw: st.DrawFn) -> tuple[AnnData, dict[str, Any]]:
    """An AnnData and arguments, most of which are good."""
    n_obs, n_vars = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    density = draw(st.sampled_from([0.05, 0.5, 1.0, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.poisson(3, (n_obs, n_vars)) * (rng.random((n_obs, n_vars)) < density)
    values[:, 0] += draw(st.sampled_from([0, 1, 1, 1]))
    dtype = draw(st.sampled_from(DTYPES))
    counts = values.astype(dtype)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1]))):
        bad = draw(hnp.from_dtype(np.dtype(dtype)))
        counts[draw(st.integers(0, n_obs - 1)), draw(st.integers(0, n_vars - 1))] = bad
    format_ = draw(st.sampled_from(FORMATS[:2] if dtype == np.float16 else FORMATS))
    number = np.arange(n_obs)
    obs = pd.DataFrame(
        {
            "words": np.where(number % 2, "a", "b"),
            "numbers": rng.normal(size=n_obs),
            "holes": np.where(number == 0, np.nan, 1.0),
            "lone": np.where(number == 0, "me", "them"),
            "same": 1.0,
            "truth": number % 3 == 0,
        },
        index=number.astype(str),
    )
    adata = AnnData(format_(counts), obs=obs)
    adata.var["some"] = rng.random(n_vars) < 0.8
    if draw(st.booleans()):
        with np.errstate(over="ignore"):
            adata.layers["other"] = format_(counts.astype(np.float32))
    arguments = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "layer": st.sampled_from([None, "other", "absent"]),
                "batch_key": st.none() | COLUMN,
                "categorical_covariate_keys": st.lists(COLUMN, max_size=2),
                "continuous_covariate_keys": st.lists(COLUMN, max_size=2),
                "size_factor_key": st.none() | COLUMN,
                "mask_var": st.none() | st.sampled_from(["some", "absent"]),
                "split": st.sampled_from([(0.8, 0.1, 0.1), (0.4, 0.3, 0.3), (1, 0, 0), "words", "absent"]),
            },
        )
    )
    return (adata[draw(st.permutations(range(n_obs)))] if draw(st.booleans()) else adata), arguments


def outcome(verb: Verb, adata: AnnData, **arguments: Any) -> Exception | None:
    """What a verb raises, if that is a sentence and the AnnData is as it was; anything else fails."""
    before = adata.copy()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is turned into an AnnData of its own")
            warnings.filterwarnings("ignore", message=".*have no training cell")
            warnings.filterwarnings("ignore", message=".*may hold no counts of molecules")
            verb(adata, **arguments)
    except (ValueError, KeyError, TypeError, Reached) as error:
        if not isinstance(error, Reached):
            has_words(error, ())
        assert_same_anndata(adata, before)
        return error
    return None


@pytest.fixture(scope="module")
def _stopped() -> Iterator[None]:
    def stop(*_: object, **__: object) -> None:
        raise Reached

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_trained, "train_restarts", stop)
        yield


N_EXAMPLES = int(os.environ.get("ZINBTOOLS_EXAMPLES", "150"))


@pytest.mark.usefixtures("_stopped")
@settings(max_examples=N_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(hostile())
def test_a_fit_gets_to_its_training_or_says_why_not(case: tuple[AnnData, dict[str, Any]]) -> None:
    adata, arguments = case
    assert outcome(zt.tl.fit_nb_zinb, adata, **arguments, progress=False) is not None


@settings(max_examples=N_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(hostile())
def test_a_zero_test_gives_numbers_or_says_why_not(case: tuple[AnnData, dict[str, Any]]) -> None:
    adata, arguments = case
    known = {name: value for name, value in arguments.items() if name in ("layer", "batch_key", "mask_var")}
    if outcome(zt.tl.zero_test, adata, **known) is None:
        table = zt.get.zero_test_df(adata)
        fitted = table["mean_count"] > 0
        assert np.isfinite(table.loc[fitted, ["poisson_log_likelihood", "pval"]].to_numpy()).all()
