"""Whether two AnnData, or two results in them, are the same, element by element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

PLACES = ("obs", "var", "obsm", "layers", "uns")


def assert_same_anndata(first: AnnData, second: AnnData) -> None:
    """Names, counts and every result; files may change types of strings and scalars, but no value."""
    assert_same(first.obs_names.to_numpy(), second.obs_names.to_numpy(), "obs_names")
    assert_same(first.var_names.to_numpy(), second.var_names.to_numpy(), "var_names")
    assert_same(first.X, second.X, "X")
    for place in PLACES:
        assert_same(getattr(first, place), getattr(second, place), place)


def assert_same_results(first: AnnData, second: AnnData, *, but: tuple[str, ...] = ()) -> None:
    """What a fit and its followers wrote, bit by bit; ``but`` are names of ``params`` that may differ."""
    assert len(first.obsm) > 0
    assert_same(first.obsm, second.obsm, "obsm")
    for place in ("layers", "obs", "var"):
        a, b = getattr(first, place), getattr(second, place)
        names = [name for name in a if name is not None and ("nb_" in name or name.startswith("zi"))]
        assert names
        for name in names:
            assert_same(a[name], b[name], f"{place}/{name}")
    a, b = dict(first.uns["zinbtools"]), dict(second.uns["zinbtools"])
    for results in (a, b):
        results["params"] = {k: v for k, v in results["params"].items() if k not in but}
    assert_same(a, b, "uns")


def assert_same(first: Any, second: Any, where: str) -> None:
    if isinstance(first, pd.DataFrame):
        assert list(first.columns) == list(second.columns), where
        for name in first:
            assert_same(first[name], second[name], f"{where}/{name}")
    elif isinstance(first, Mapping):
        assert set(first) == set(second), where
        for name in first:
            assert_same(first[name], second[name], f"{where}/{name}")
    elif isinstance(first, pd.Series) and isinstance(first.dtype, pd.CategoricalDtype):
        assert list(first.cat.categories) == list(second.cat.categories), where
        assert_same(first.cat.codes.to_numpy(), second.cat.codes.to_numpy(), where)
    elif isinstance(first, set | frozenset):  # in no order
        assert first == second, where
    else:
        a, b = _array(first), _array(second)
        if a.dtype.kind in "fiub":
            assert a.dtype == b.dtype, f"{where}: {a.dtype}, {b.dtype}"
            np.testing.assert_array_equal(a, b, err_msg=where)
        else:
            assert a.shape == b.shape, where
            assert [str(value) for value in a.flat] == [str(value) for value in b.flat], where


def _array(values: Any) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)
