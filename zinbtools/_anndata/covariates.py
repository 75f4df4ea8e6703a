"""Read what the models are told of each cell: batch, categories, continuous covariates, size factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._words.warn import warn
from .reading import checked_column


@dataclass(frozen=True)
class Covariates:
    """Columns of ``obs`` that the models are told, with their categories and scales.

    Attributes
    ----------
    batch_key, batches
        The batch column and its categories.
    categorical
        Categories of each further column.
    continuous
        Mean and standard deviation of each continuous column.
    size_factor_key
        The column that stands in for the total counts.
    """

    batch_key: str | None = None
    batches: list[str] = field(default_factory=list)
    categorical: dict[str, list[str]] = field(default_factory=dict)
    continuous: dict[str, tuple[float, float]] = field(default_factory=dict)
    size_factor_key: str | None = None

    @property
    def n_groups(self) -> int:
        return max(1, len(self.batches))

    @property
    def n_columns(self) -> int:
        """Count the columns of `matrix`."""
        categories = [self.batches, *self.categorical.values()]
        return sum(len(names) for names in categories if len(names) > 1) + len(self.continuous)

    def group(self, obs: pd.DataFrame) -> np.ndarray:
        """Return the index of each cell's batch, (n_obs,)."""
        if self.batch_key is None:
            return np.zeros(len(obs), dtype=np.int64)
        return _codes(obs, self.batch_key, self.batches)

    def matrix(self, obs: pd.DataFrame) -> np.ndarray:
        """Encode categories one-hot (none for a single one) and standardise continuous columns."""
        columns: list[np.ndarray] = [np.zeros((len(obs), 0), dtype=np.float32)]
        categorical = {self.batch_key: self.batches} if self.batch_key is not None else {}
        for key, categories in (categorical | self.categorical).items():
            if len(categories) > 1:
                columns.append(np.eye(len(categories), dtype=np.float32)[_codes(obs, key, categories)])
        for key, (mean, deviation) in self.continuous.items():
            columns.append(((obs[key].to_numpy(np.float64) - mean) / deviation)[:, None].astype(np.float32))
        return np.concatenate(columns, axis=1)

    def size_factor(self, obs: pd.DataFrame) -> np.ndarray | None:
        """Return the size factor of each cell, (n_obs,), if there is such a column."""
        return None if self.size_factor_key is None else obs[self.size_factor_key].to_numpy(np.float64)


def read_covariates(
    adata: AnnData,
    *,
    batch_key: str | None = None,
    categorical_keys: Sequence[str] = (),
    continuous_keys: Sequence[str] = (),
    size_factor_key: str | None = None,
) -> Covariates:
    """Learn the categories and scales of the columns of ``obs`` that the models are told.

    Raises
    ------
    KeyError
        If a column is missing.
    ValueError
        If a column has missing or infinite values, does not vary, is not positive where it must be, or has
        values that are the same as text; if a batch has one cell, or there are more categories than half the
        cells.
    """
    batches: list[str] = []
    if batch_key is not None:
        column = read_categories(adata.obs, batch_key, "batch_key")
        sizes = column.value_counts()
        if sizes.min() < 2:
            raise ValueError(
                f"batch_key {batch_key!r}: batch {sizes.idxmin()!r} has one cell; "
                "merge it with another or drop it."
            )
        batches = sorted(sizes.index)
        if batch_key in categorical_keys:
            raise ValueError(f"categorical_covariate_keys: {batch_key!r} is the batch_key; leave it out.")
    categorical = {}
    for key in categorical_keys:
        categorical[key] = sorted(read_categories(adata.obs, key, "categorical_covariate_keys").unique())
        if 2 * len(categorical[key]) > adata.n_obs:
            raise ValueError(
                f"categorical_covariate_keys: {key!r} has {len(categorical[key])} categories for "
                f"{adata.n_obs} cells; a category needs cells to learn from, so leave it out."
            )
    continuous = {}
    for key in continuous_keys:
        values = _numbers(adata.obs, key, "continuous_covariate_keys")
        if values.min() == values.max():
            raise ValueError(f"continuous_covariate_keys: {key!r} does not vary; leave it out.")
        continuous[key] = (float(values.mean()), float(values.std()))
    if size_factor_key is not None and _numbers(adata.obs, size_factor_key, "size_factor_key").min() <= 0:
        raise ValueError(f"size_factor_key {size_factor_key!r} must be positive; found values of 0 or less.")
    return Covariates(batch_key, batches, categorical, continuous, size_factor_key)


def read_categories(obs: pd.DataFrame, key: str, argument: str) -> pd.Series:
    """Read a column of ``obs`` as text; refuse missing values, and different ones that are the same text."""
    column = checked_column(obs, key, argument, "obs")
    if column.isna().any():
        raise ValueError(
            f"{argument}: {key!r} is missing for {int(column.isna().sum())} cells; fill or drop them."
        )
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    labels: dict[str, Any] = {}
    for value in values if values.dtype == object else ():
        if (other := labels.setdefault(str(value), value)) != value:
            one, two = sorted(map(repr, (value, other)))
            raise ValueError(
                f"{argument}: {key!r} holds {one} and {two}, which cannot be told apart as text; rename one."
            )
    return column.astype(str)


def warn_of_untrained(covariates: Covariates, obs: pd.DataFrame, folds: Sequence[np.ndarray]) -> None:
    """Warn of batches and categories without a cell among those that a fold trains on, (n_obs,) boolean."""
    where = " in some fold" if len(folds) > 1 else ""
    batch = {} if covariates.batch_key is None else {covariates.batch_key: covariates.batches}
    for key, categories in (batch | covariates.categorical).items():
        values = obs[key].astype(str)
        untrained = sorted(set(categories) - set.intersection(*(set(values[t]) for t in folds)))
        if untrained:
            some = ", ".join(map(repr, untrained[:3])) + (", ..." if len(untrained) > 3 else "")
            warn(
                f"{len(untrained)} of the {len(categories)} values of obs[{key!r}] have no training cell"
                f"{where} ({some}): what the models say of their cells rests on weights that nothing has "
                "trained."
            )


def store_covariates(covariates: Covariates) -> dict[str, Any]:
    """Write covariates as a dictionary for files; column names may have any character, so they are values."""
    return {
        "batch_key": covariates.batch_key,
        "batches": covariates.batches,
        "size_factor_key": covariates.size_factor_key,
        "categorical_keys": list(covariates.categorical),
        "categories": {f"{i}": values for i, values in enumerate(covariates.categorical.values())},
        "continuous_keys": list(covariates.continuous),
        "continuous_scales": np.array(list(covariates.continuous.values())),
    }


def restore_covariates(stored: Mapping[str, Any]) -> Covariates:
    """Undo `store_covariates`, whatever a file has made of lists and strings."""

    def strings(values: Any) -> list[str]:
        return [str(value) for value in np.atleast_1d(values)]

    categorical_keys = strings(stored.get("categorical_keys", []))
    continuous_keys = strings(stored.get("continuous_keys", []))
    scales = np.asarray(stored.get("continuous_scales", np.zeros((0, 2))))
    return Covariates(
        batch_key=stored.get("batch_key"),
        batches=strings(stored.get("batches", [])),
        categorical={key: strings(stored["categories"][str(i)]) for i, key in enumerate(categorical_keys)},
        continuous={key: (float(a), float(b)) for key, (a, b) in zip(continuous_keys, scales, strict=True)},
        size_factor_key=stored.get("size_factor_key"),
    )


def _numbers(obs: pd.DataFrame, key: str, argument: str) -> np.ndarray:
    column = checked_column(obs, key, argument, "obs")
    if not pd.api.types.is_numeric_dtype(column):
        raise TypeError(f"{argument}: {key!r} must be numeric, found {column.dtype}.")
    values = column.to_numpy(np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{argument}: {key!r} is NaN or infinite for {bad} cells; fill or drop them.")
    return values


def _codes(obs: pd.DataFrame, key: str, categories: Sequence[str]) -> np.ndarray:
    values = checked_column(obs, key, "covariate", "obs").astype(str)
    codes = pd.Index(categories).get_indexer(pd.Index(values))
    if (codes < 0).any():
        unknown = values[codes < 0].iloc[0]
        raise ValueError(f"obs[{key!r}] holds {unknown!r}, which the fitted model has not seen.")
    return codes.astype(np.int64)
