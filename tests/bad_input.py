"""What may be wrong with an AnnData or a setting, and the words of the sentence that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

Change = Callable[[AnnData], AnnData | None]


def has_words(error: BaseException, words: tuple[str, ...]) -> None:
    """The error is one sentence with these words."""
    message = error.args[0]
    assert [word for word in words if word not in message] == [], message
    assert message.endswith(".")
    assert ".\n" not in message


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


def empty_layer(adata: AnnData) -> None:
    counts = adata.X.toarray()
    counts[2:5] = 0
    adata.layers["u"] = sparse.csr_matrix(counts)


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


def with_results(adata: AnnData) -> None:
    adata.layers["run_zinb_mean"] = adata.layers["two_nb_mean"] = adata.X.toarray() + 0.5
    adata.layers["spliced"] = adata.layers["umi"] = adata.X.copy()
    adata.X = np.log1p(adata.X.toarray())


COUNTS = [
    case("not an AnnData", lambda _: np.ones((3, 3)), TypeError, "adata", "AnnData", "ndarray"),
    case("no cells", lambda a: a[:0].copy(), ValueError, "0 cells", "50 genes"),
    case("negative", entry(-2), ValueError, "adata.X", "negative", "-2", "raw counts", RAW),
    case("NaN", entry(np.nan), ValueError, "adata.X", "1 numbers", "NaN", "join='inner'", "fill_value=0"),
    case("infinite", entry(np.inf), ValueError, "adata.X", "1 numbers", "infinite"),
    case("not whole", entry(30.5), ValueError, "adata.X", "not whole", "normalised", "raw counts", RAW),
    case(
        "ambient-corrected",
        dense(lambda x: 0.93 * x),
        ValueError,
        "not whole, as ambient-corrected",
        "check_counts=False",
    ),
    case(
        "recovered from logs",
        dense(lambda x: np.expm1(np.log1p(x / 7).astype(np.float32)) * 7),
        ValueError,
        "whole only to within",
        "recovered from logs",
        "adata.X = np.rint(adata.X)",
        "check_counts=False",
    ),
    case("log-transformed", dense(np.log1p), ValueError, "adata.X", "log-transformed", "raw counts", RAW),
    case("with raw", with_raw, ValueError, "log-transformed", "adata.raw.to_adata()"),
    case(
        "after a fit",
        with_results,
        ValueError,
        "give raw counts: perhaps layer='true_counts' or layer='umi' or layer='spliced'; or",
    ),
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
    case("too large for float32", entry(1e300), ValueError, "adata.X", "1e+300", "2^31"),
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
    case("empty cells of a layer", empty_layer, ValueError, "3 cells", "layer 'u'", layer="u"),
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
    *(
        case(
            f"{argument} of text and numbers",
            column("mixed", lambda a: pd.Series([1, "1"] * (a.n_obs // 2), a.obs_names, dtype=object)),
            ValueError,
            argument,
            "'mixed'",
            "'1' and 1",
            "as text",
            **{argument: "mixed"},
        )
        for argument in ("batch_key", "categorical_covariate_keys")
    ),
    case(
        "a category per cell",
        column("barcode", lambda a: a.obs_names),
        ValueError,
        "categorical_covariate_keys",
        "'barcode'",
        "300 categories for 300 cells",
        categorical_covariate_keys="barcode",
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
        "one test cell",
        column("part", lambda a: ["test", *["validation", "train"] * a.n_obs][: a.n_obs]),
        ValueError,
        "1 test cells",
        "at least 2",
        split="part",
    ),
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
