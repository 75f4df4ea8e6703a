"""Find what h5ad cannot hold before the work: mend it where that loses nothing, refuse it where not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import write_elem
from scipy import sparse

from .._words.sentence import sentence
from .._words.warn import warn

_MOST_TOLD = 8
_DEEPEST = 50


def writable(adata: AnnData) -> AnnData:
    """Give the object as h5ad can hold it: itself where it can, else a new one that shares the matrices.

    Everything but the matrices is written into memory. Mended, with one warning for all: strings of pandas'
    nullable kinds, columns called ``_index`` or by something else than text, columns of objects that are
    all of one kind, tuples and sets in ``uns``, and None where this anndata cannot write it.

    Parameters
    ----------
    adata
        Any object; not changed.

    Raises
    ------
    ValueError
        If something cannot be written and could only be mended with a loss.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=20)
    >>> writable(adata) is adata
    True
    """
    mending = _Mending()
    obs = mending.annotation(adata, "obs")
    var = mending.annotation(adata, "var")
    obsm, varm = mending.tables("obsm", adata.obsm), mending.tables("varm", adata.varm)
    uns = mending.mapping("uns", adata.uns)
    raw = None
    if adata.raw is not None:
        raw = {
            "X": adata.raw.X,
            "var": mending.frame("raw.var", adata.raw.var),
            "varm": mending.tables("raw.varm", adata.raw.varm),
        }
    for place in ("layers", "obsp", "varp"):
        mending.check_names(place, getattr(adata, place))
    if not mending.changes:
        return adata
    warn(mending.told())
    parts = {place: dict(getattr(adata, place)) for place in ("layers", "obsp", "varp")}
    return AnnData(adata.X, obs=obs, var=var, uns=uns, obsm=obsm, varm=varm, raw=raw, **parts)


class _Mending:
    """Parts of an AnnData as h5ad can hold them, and what was changed for it."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    def told(self) -> str:
        shown = "; ".join(self.changes[:_MOST_TOLD])
        n_more = len(self.changes) - _MOST_TOLD
        more = f"; and {n_more} more" if n_more > 0 else ""
        return f"some of the data cannot be written to h5ad as they are, and are changed: {shown}{more}."

    def annotation(self, adata: AnnData, place: str) -> pd.DataFrame:
        """``obs`` or ``var``; text in them becomes categories when it is written, if it repeats."""
        frame = getattr(adata, place)
        as_written = frame.copy(deep=False)
        adata.strings_to_categoricals(as_written)
        return self.frame(place, frame, as_written)

    def tables(self, place: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
        self.check_names(place, arrays)
        return {
            key: self.frame(f"{place}[{key!r}]", value) if isinstance(value, pd.DataFrame) else value
            for key, value in arrays.items()
        }

    def check_names(self, place: str, names: Mapping[Any, Any]) -> None:
        """Refuse names that h5ad takes for a place elsewhere, or does not hold to their end."""
        for name in map(str, names):
            if name in ("", ".") or "/" in name or _broken_text(name) is not None:
                raise ValueError(
                    f"adata.{place}[{name!r}]: a name in h5ad cannot be empty or a dot, nor have a slash, a "
                    "NUL or half of a surrogate pair in it; rename it."
                )

    def frame(self, place: str, frame: pd.DataFrame, as_written: pd.DataFrame | None = None) -> pd.DataFrame:
        names, index_name = self._names(place, frame)
        same = names == [*frame.columns] and index_name == frame.index.name
        if same and _failure(frame if as_written is None else as_written) is None:
            return frame
        index = self.values(f"{place} index" if "[" in place else f"{place}_names", frame.index)
        columns = {
            name: self.values(f"{place}[{name!r}]", frame.iloc[:, position])
            for position, name in enumerate(names)
        }
        mended = pd.DataFrame(columns, index=pd.Index(index, name=index_name))
        if error := _failure(mended):
            raise ValueError(_refusal(place, frame, error))
        return mended

    def _names(self, place: str, frame: pd.DataFrame) -> tuple[list[str], str | None]:
        """Choose names of columns and index: text that h5ad does not need for other things."""
        names: list[str] = []
        taken = [*map(str, frame.columns)]
        for found in frame.columns:
            name = _possible(found, [*names, *taken])
            if name in names:
                raise ValueError(f"adata.{place} has two columns named {name!r}; rename one.")
            names.append(name)
            if name != found:
                self.changes.append(f"column {found!r} of {place} is renamed to {name!r}")
        found = frame.index.name
        if found is None or found == "_index":
            return names, found
        name = _possible(found, names)
        if name in names and not frame.index.equals(pd.Index(frame.iloc[:, names.index(name)])):
            name = _free(f"{name}_", names)  # a column of this name has other values
        if name != found:
            self.changes.append(f"the index of {place}, called {found!r}, is now called {name!r}")
        return names, name

    def values(self, place: str, values: Any) -> Any:
        """Mend a column, an index or an array of one dimension."""
        held = np.asarray(values) if isinstance(values.dtype, np.dtype) else pd.Series(values).array
        error = _failure(held)
        if error is None:
            return held
        plain = _plain(held)
        if _failure(plain) is not None:
            raise ValueError(_refusal(place, values, error))
        self.changes.append(f"{place} changes its type from {_type_of(values)} to {_type_of(plain)}")
        return plain

    def mapping(self, place: str, mapping: Mapping[Any, Any]) -> dict[str, Any]:
        """Mend ``uns`` or a dictionary in it."""
        if place.count("[") > _DEEPEST:
            raise ValueError(
                f"adata.{place[:200]}… is {_DEEPEST} dictionaries deep, too deep for h5ad; flatten it."
            )
        self.check_names(place, mapping)
        parts = {
            str(key): value
            for key, value in mapping.items()
            if not (isinstance(value, Mapping | pd.DataFrame) or _is_matrix(value))
        }
        written = set(parts) if _failure(parts) is None else set()  # all at once, as most are fine
        mended: dict[str, Any] = {}
        for key, value in mapping.items():
            name = str(key)
            if name in mended:
                raise ValueError(f"{place} has two keys {name!r} of different types; rename one.")
            if not isinstance(key, str):
                self.changes.append(f"key {key!r} of {place} becomes text")
            if name in written:
                mended[name] = value
            elif value is None and _failure(None) is not None:
                self.changes.append(f"{place}[{key!r}], which is None, is left out")
            else:
                mended[name] = self.item(f"{place}[{key!r}]", value)
        return mended

    def item(self, place: str, value: Any) -> Any:
        """Mend something in ``uns``."""
        if isinstance(value, Mapping):
            return self.mapping(place, value)
        if isinstance(value, pd.DataFrame):
            return self.frame(place, value)
        error = _failure(value)
        if error is None:
            return value
        if isinstance(value, tuple | set | frozenset):
            values = list(value) if isinstance(value, tuple) else sorted(value, key=str)
            if _failure(values) is None:
                self.changes.append(f"{place}, a {type(value).__name__}, is now a list")
                return values
        elif isinstance(value, np.ndarray | pd.api.extensions.ExtensionArray) and value.ndim == 1:
            return self.values(place, value)
        raise ValueError(_refusal(place, value, error))


def _failure(value: Any) -> Exception | None:
    """Write a value to h5ad in memory and return what is raised; matrices of numbers are trusted."""
    if _is_matrix(value):
        return None
    with h5py.File("memory", "w", driver="core", backing_store=False) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the real writing says them
        try:
            write_elem(file, "value", value)
        except Exception as error:  # writers fail in all manners
            return error
    return None


def _is_matrix(value: Any) -> bool:
    return (sparse.issparse(value) or isinstance(value, np.ndarray)) and value.dtype.kind in "biuf"


def _plain(values: Any) -> Any:
    """Convert values to what numpy or pandas hold without extensions that h5ad may lack."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.rename_categories(_plain(values.categories.array))
    kind = pd.api.types.infer_dtype(values, skipna=True)
    objects = np.asarray(values, dtype=object)
    missing = pd.isna(objects)
    if kind in ("string", "empty"):
        return pd.Categorical(objects) if missing.any() else objects
    if kind in ("boolean", "integer"):
        return pd.array(objects, dtype="boolean" if kind == "boolean" else "Int64")
    if kind in ("floating", "mixed-integer-float"):
        return np.where(missing, np.nan, objects).astype(np.float64)
    return values


def _type_of(values: Any) -> str:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return f"category of {values.dtype.categories.dtype}"
    return str(values.dtype)


def _refusal(place: str, value: Any, error: Exception) -> str:
    if (text := _broken_text(value)) is not None:
        return f"adata.{place} holds {text!r}, with a character that no file can hold; take it out."
    what = f"values of type {_type_of(value)}" if hasattr(value, "dtype") else f"a {type(value).__name__}"
    cure = (
        "keep it as text, numbers, or arrays, tables and dictionaries of these, or delete it"
        if place.startswith("uns")
        else "make it text, as .astype(str) does, or delete it"
    )
    return f"adata.{place} holds {what}, which h5ad cannot hold ({sentence(error)}); {cure}."


def _broken_text(value: Any) -> str | None:
    """Find the first text with a NUL or half of a surrogate pair."""
    texts = [value] if isinstance(value, str) else np.ravel(np.asarray(value, dtype=object))
    for text in texts:
        if isinstance(text, str) and ("\0" in text or any("\ud800" <= c <= "\udfff" for c in text)):
            return text
    return None


def _possible(name: Any, taken: list[str]) -> str:
    """Turn a column's name into text, and into another one where h5ad would read an index or a place."""
    text = str(name)
    if "/" in text and _failure({"a/b": 0}) is not None:  # which older releases of anndata allow
        return _free(text.replace("/", "_"), taken)
    if text not in ("", ".", "_index") and "\0" not in text:
        return text
    return _free(text.lstrip("._").replace("\0", "") + "_", taken)


def _free(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "_"
    return name
