"""`meta` and `replicated`: one answer from many studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .._check.arguments import checked
from ..get._meta import ALL, MetaAnalysis
from ..stats.partial_conjunction import n_replicated
from ..stats.random_effects import RandomEffects, random_effects

_FEWEST_TO_REGRESS = 10  # studies, below which a regression on their errors sees hardly anything


@checked
def meta(
    table: pd.DataFrame,
    *,
    effect: str = "effect",
    se: str = "se",
    by: str | None = None,
    moderators: Sequence[str] | None = None,
    region: float | None = None,
    level: float = 0.95,
) -> MetaAnalysis:
    """Summarise the effects of many studies: their mean, how far they differ, and what the next will show.

    Random effects by restricted maximum likelihood, as in `zinbtools.stats.random_effects.random_effects`.
    Studies are taken to be independent of each other: two analyses of the same cells are not.

    Parameters
    ----------
    table
        A row for each study, named by the index: as `zinbtools.study.read_summaries` makes it of studies of
        this package, or any other.
    effect, se
        Columns of estimates and their standard errors, in one unit.
    by
        Column whose values are groups, such as a protocol, that are summarised by themselves.
    moderators
        Columns, of numbers or words, that may tell why effects differ: one model of all studies has them.
        ``intercept`` is the effect where numbers are 0 and words the first in order.
    region
        Effect above which there is a practical difference: how probable is it that the next study's is?
    level
        Of the intervals.

    Returns
    -------
    Tables of groups, studies and moderators; printed, a sentence for each group.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If a number is missing, an error is not positive, two studies have one name, or there are too few
        studies.

    Examples
    --------
    >>> import pandas as pd
    >>> import zinbtools as zt
    >>> table = pd.DataFrame({"effect": [1.0, 1.4, 0.7, 0.1], "se": 0.2, "of": list("rrmm")}, list("abcd"))
    >>> found = zt.tl.meta(table, by="of")
    >>> found.groups["effect"].round(2).to_dict()
    {'m': 0.4, 'r': 1.2, 'all': 0.8}
    """
    _check(table, [effect, se, *(moderators or []), *([] if by is None else [by])], by)
    studies = pd.DataFrame({"effect": table[effect], "se": table[se]}).astype(np.float64)
    studies["group"] = ALL if by is None else table[by].astype(str)
    parts = {name: part for name, part in studies.groupby("group") if name != ALL} | {ALL: studies}
    groups = pd.DataFrame({name: _group(part, region, level) for name, part in parts.items()}).T
    own = [
        _studies(parts[name], groups["tau"][name] if len(parts[name]) > 1 else 0.0)
        for name in set(studies["group"])
    ]
    return MetaAnalysis(
        groups=groups.astype({"n_studies": int}),
        studies=studies.join(pd.concat(own)),
        moderators=_explained(table, studies, moderators, level),
        asymmetry_pval=_asymmetry(studies),
        region=region,
        level=level,
    )


@checked
def replicated(pval: pd.DataFrame, *, alpha: float = 0.05) -> pd.Series:
    """Say in at least how many studies each gene has something, at a false discovery rate for each number.

    Partial conjunctions of p values (Benjamini and Heller 2008), for studies that are independent of each
    other: `zinbtools.stats.partial_conjunction.n_replicated`.

    Parameters
    ----------
    pval
        Studies by genes; NaN where a study did not test a gene.
    alpha
        False discovery rate.

    Raises
    ------
    ValueError
        If a number is no p value.

    Returns
    -------
    Whole numbers, by gene.

    Examples
    --------
    >>> import pandas as pd
    >>> import zinbtools as zt
    >>> pval = pd.DataFrame({"Xist": [1e-9, 1e-7, 0.3], "Sox2": [1e-5, 0.8, None]}, index=list("abc"))
    >>> zt.tl.replicated(pval).to_dict()
    {'Xist': 2, 'Sox2': 1}
    """
    numbers = pval.to_numpy(dtype=np.float64)
    if ((numbers < 0) | (numbers > 1)).any():
        raise ValueError("p values must be between 0 and 1, and empty where a gene was not tested.")
    return pd.Series(n_replicated(numbers, alpha), index=pval.columns, name="n_replicated")


def _check(table: pd.DataFrame, columns: Sequence[str], by: str | None) -> None:
    for column in columns:
        if column not in table:
            raise KeyError(
                f"the table has no column {column!r}; it has {', '.join(map(repr, table.columns))}."
            )
    missing = table.index[table[list(columns)].isna().any(axis=1)]
    if len(missing):
        raise ValueError(f"study {missing[0]!r} has no number or word in one of {', '.join(columns)}.")
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise ValueError(f"two studies are called {twice!r}; give them names of their own, as the index.")
    if by is not None and (table[by].astype(str) == ALL).any():
        raise ValueError(
            f"by={by!r} has a group {ALL!r}, which is the name of all studies; call it otherwise."
        )
    if len(table) < 2:
        raise ValueError(f"{len(table)} study is no family; give two or more.")


def _group(part: pd.DataFrame, region: float | None, level: float) -> dict[str, float]:
    """One row of `MetaAnalysis.groups`."""
    if len(part) == 1:
        return {"n_studies": 1, "effect": part["effect"].iloc[0], "se": part["se"].iloc[0]}
    found = random_effects(part["effect"], part["se"], level=level)
    row = _coefficients(found, ["mean"]).iloc[0].to_dict()
    next_low, next_high = found.prediction()
    return {
        "n_studies": len(part),
        **row,
        "next_low": next_low,
        "next_high": next_high,
        "next_above": np.nan if region is None else found.probability_above(region),
        "tau": np.sqrt(found.tau2),
        "tau_low": np.sqrt(found.tau2_low),
        "tau_high": np.sqrt(found.tau2_high),
        "i2": found.i2,
        "q": found.q,
        "q_pval": found.q_pval,
    }


def _studies(part: pd.DataFrame, tau: float) -> pd.DataFrame:
    """Weight of each study of a group in its mean, and the mean without it."""
    effect, se = part["effect"].to_numpy(), part["se"].to_numpy()
    weight = 1 / (se**2 + tau**2)
    others = [np.arange(len(part)) != place for place in range(len(part))]
    without = [_mean(effect[rest], se[rest]) for rest in others]
    return pd.DataFrame({"weight": weight / weight.sum(), "without": without}, index=part.index)


def _mean(effect: np.ndarray, se: np.ndarray) -> float:
    if len(effect) < 2:
        return float(effect[0]) if len(effect) else np.nan
    return float(random_effects(effect, se).coefficients[0])


def _coefficients(found: RandomEffects, names: Sequence[str]) -> pd.DataFrame:
    low, high = found.interval()
    columns = {"effect": found.coefficients, "se": found.se, "low": low, "high": high, "pval": found.pval}
    return pd.DataFrame(columns, index=list(names))


def _explained(
    table: pd.DataFrame, studies: pd.DataFrame, moderators: Sequence[str] | None, level: float
) -> pd.DataFrame:
    """Coefficients of moderators, words as differences from the first of them."""
    if not moderators:
        return pd.DataFrame(columns=["effect", "se", "low", "high", "pval"], dtype=np.float64)
    design = pd.get_dummies(table[list(moderators)], drop_first=True).astype(np.float64)
    design.insert(0, "intercept", 1.0)
    found = random_effects(studies["effect"], studies["se"], design, level=level)
    return _coefficients(found, design.columns.tolist())


def _asymmetry(studies: pd.DataFrame) -> float:
    se = studies["se"]
    if len(studies) < _FEWEST_TO_REGRESS or np.ptp(se) == 0:
        return np.nan
    design = np.column_stack([np.ones(len(se)), se])
    return float(random_effects(studies["effect"], se, design).pval[1])
