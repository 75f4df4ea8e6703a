"""Summaries of many studies as one table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from .. import pl, tl
from .._check.arguments import checked
from ..get import MetaAnalysis
from ._csv import write_csv
from ._machine import FORMAT

EFFECT = "ZINB better than NB by (thousandths of the NB's log likelihood)"


class Family(NamedTuple):
    """Studies, a row each, and what they say together, as `zinbtools.study.run_meta` finds."""

    table: pd.DataFrame
    found: MetaAnalysis

    def __str__(self) -> str:
        return f"{EFFECT}\n{self.found}"


@checked
def read_summaries(paths: Iterable[str | os.PathLike[str]]) -> pd.DataFrame:
    """Read the ``summary.json`` of studies into the table that `zinbtools.tl.meta` takes.

    Parameters
    ----------
    paths
        Files, or folders of studies, which hold one.

    Returns
    -------
    A row for each study, named by its title or, where two have one title, by its folder: ``effect``, what the
    ZINB gains in held-out log likelihood in thousandths of the NB's, with ``se``; ``verdict`` and
    ``explained_by``; ``counts``, ``n_cells`` and ``n_genes``; ``excess_zeros``, the zeros beyond those that
    the NB expects, as a share of all zeros; ``calls_per_thousand``, of genes that are zero-inflated and not
    explained; and ``path``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is not the summary of a study, or one of a newer version.

    Examples
    --------
    >>> from zinbtools.study import read_summaries
    >>> read_summaries([])[["effect", "se"]].shape
    (0, 2)
    """
    rows = []
    for given in map(Path, paths):
        path = given / "summary.json" if given.is_dir() else given
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}.")
        rows.append({"path": str(path), **_row(_content(path))})
    columns = ["title", "path", "effect", "se", "verdict", "explained_by", "counts", "n_cells", "n_genes"]
    table = pd.DataFrame(rows, columns=[*columns, "excess_zeros", "calls_per_thousand"])
    twice = table["title"].duplicated(keep=False)
    names = table["title"].where(~twice, table["path"].map(lambda path: Path(path).parent.as_posix()))
    return table.drop(columns="title").set_axis(pd.Index(names, name="study"))


@checked
def with_columns_of(table: pd.DataFrame, path: str | os.PathLike[str]) -> pd.DataFrame:
    """Add what a CSV file tells of studies to a table of them.

    Parameters
    ----------
    table
        A row for each study, named by the index.
    path
        A file with a header, whose first column has the names of studies; others are left out.

    Raises
    ------
    ValueError
        If it says nothing of a study, or twice.
    """
    about = pd.read_csv(path, index_col=0, dtype={0: str})
    about.index = about.index.astype(str)
    for name in table.index:
        n = int((about.index == name).sum())
        if n != 1:
            raise ValueError(f"{path} has {n} rows for study {name!r}; it needs one, with that name first.")
    return table[[name for name in table if name not in about]].join(about)


@checked
def run_meta(
    paths: Iterable[str | os.PathLike[str]],
    *,
    about: str | os.PathLike[str] | None = None,
    by: str | None = None,
) -> Family:
    """Read summaries of studies and summarise them in one answer.

    Parameters
    ----------
    paths
        As for `read_summaries`.
    about
        As for `with_columns_of`.
    by
        As for `zinbtools.tl.meta`.

    Returns
    -------
    ``table``, the studies, and ``found``, what `zinbtools.tl.meta` says of them.
    """
    table = read_summaries(paths)
    if about is not None:
        table = with_columns_of(table, about)
    return Family(table, tl.meta(table, by=by))


def write_meta(family: Family, folder: Path) -> None:
    """Write ``meta.csv``, a row per group, ``studies.csv``, a row per study, and ``forest.png``."""
    found = family.found
    write_csv(found.groups.rename_axis("group"), folder / "meta.csv", index=True)
    studies = family.table.join(found.studies[["group", "weight", "without"]])
    write_csv(studies.rename_axis("study"), folder / "studies.csv", index=True)
    figure = pl.meta(found, label=EFFECT, show=False, return_fig=True)
    figure.savefig(folder / "forest.png", dpi=200)  # type: ignore[union-attr]


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["zinbtools_summary"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the summary of a zinbtools study.") from error
    if version > FORMAT:
        raise ValueError(f"{path} is of a newer zinbtools ({content.get('version')}); update this one.")
    return dict(content)


def _row(content: Mapping[str, Any]) -> dict[str, Any]:
    difference, zeros, genes = content["difference"], content["zeros"], content["genes"]
    per_thousand = 1000 / difference["nb_nll"]
    called = genes.get("zero_inflated")
    return {
        "title": content["title"],
        "effect": per_thousand * difference["difference"],
        "se": per_thousand * difference["se"],
        "verdict": content["verdict"]["answer"],
        "explained_by": content["verdict"]["explained_by"],
        **{name: content["data"][name] for name in ("counts", "n_cells", "n_genes")},
        "excess_zeros": (zeros["observed"] - zeros["nb_expects"]) / max(zeros["observed"], 1e-300),
        "calls_per_thousand": None if called is None else 1000 * len(called) / genes["n"],
    }
