"""Summaries of many studies as one table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from .. import tl
from .._check.arguments import checked
from .._words.answers import Call
from ._csv import unescaped
from ._machine import FORMAT

_EFFECTS = ["effect", "se", "beyond", "beyond_se"]
_WORDS = ["verdict", "explained_by", "counts", "n_cells", "n_genes"]
_NUMBERS = ["excess_zeros", "calls_per_thousand", "reads_per_molecule"]


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
    ZINB gains in held-out log likelihood in thousandths of the NB's, with ``se``; ``beyond`` and
    ``beyond_se``, the same of a ZINB and an NB that both have what explains most (a dispersion of the cell,
    copies of reads), which is ``effect`` where nothing had to be explained; ``verdict`` and ``explained_by``;
    ``counts``, ``n_cells`` and ``n_genes``; ``excess_zeros``, the zeros beyond those that the NB expects, as
    a share of all zeros; ``calls_per_thousand``, of genes that are zero-inflated and not explained;
    ``reads_per_molecule``, where copies were asked for; and ``path``.

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
    table = pd.DataFrame(rows, columns=["title", "path", *_EFFECTS, *_WORDS, *_NUMBERS])
    twice = table["title"].duplicated(keep=False)
    names = table["title"].where(~twice, table["path"].map(lambda path: Path(path).parent.as_posix()))
    return table.drop(columns="title").set_axis(pd.Index(names, name="study"))


@checked
def read_genes(paths: Mapping[str, str | os.PathLike[str]], alpha: float = 0.05) -> pd.DataFrame:
    """Read the ``genes.csv`` of studies, and say in how many each gene is zero-inflated.

    Parameters
    ----------
    paths
        Where each study lies, by its name: its folder or its ``summary.json``. Those without tests of genes
        are left out.
    alpha
        False discovery rate.

    Returns
    -------
    A row for each gene, by its name, the most replicated first, with ``n_tested``, the studies that tested
    it; ``n_called``, those that call it, and no column or copies explain it; ``n_replicated``, in at least
    how many it is zero-inflated, with a false discovery rate for each number (`zinbtools.tl.replicated`);
    and ``called_in``, the names of the studies that call it.

    Examples
    --------
    >>> from zinbtools.study import read_genes
    >>> read_genes({}).columns.tolist()
    ['n_tested', 'n_called', 'n_replicated', 'called_in']
    """
    columns = ["n_tested", "n_called", "n_replicated", "called_in"]
    read = {name: _of_genes(Path(path)) for name, path in paths.items()}
    tables = {name: table for name, table in read.items() if table is not None}
    if not tables:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="gene"))
    pval = pd.concat({name: table["pval"] for name, table in tables.items()}, axis=1).sort_index()
    called = pd.concat({name: table["called"] for name, table in tables.items()}, axis=1)
    called = called.reindex(pval.index).eq(True)
    found = pd.DataFrame(
        {
            "n_tested": pval.notna().sum(axis=1),
            "n_called": called.sum(axis=1),
            "n_replicated": tl.replicated(pval.T, alpha=alpha),
            "called_in": [", ".join(called.columns[of].astype(str)) for of in called.to_numpy()],
        },
        index=pval.index.rename("gene"),
    )
    return found.sort_values(["n_replicated", "n_called"], ascending=False, kind="stable")[columns]


def _of_genes(path: Path) -> pd.DataFrame | None:
    """P values and calls of one study; what explains a gene's zeros leaves it without evidence."""
    file = (path if path.is_dir() else path.parent) / "genes.csv"
    if not file.exists():
        return None
    table = pd.read_csv(file, keep_default_na=False, na_values={"pval": [""]}, dtype={"gene": str})
    if "pval" not in table:
        return None
    explained = table["explained_by"] != "" if "explained_by" in table else np.zeros(len(table), dtype=bool)
    found = pd.DataFrame(
        {
            "pval": table["pval"].astype(np.float64).where(~explained, 1.0),
            "called": (table["call"] == Call.ZERO_INFLATED) & ~explained,
        }
    )
    return found.set_axis(pd.Index([unescaped(name) for name in table["gene"]], name="gene"))


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
    beyond, beyond_se = _beyond(content)
    called = genes.get("zero_inflated")
    return {
        "title": content["title"],
        "effect": per_thousand * difference["difference"],
        "se": per_thousand * difference["se"],
        "beyond": per_thousand * beyond,
        "beyond_se": per_thousand * beyond_se,
        "verdict": content["verdict"]["answer"],
        "explained_by": content["verdict"]["explained_by"],
        **{name: content["data"][name] for name in ("counts", "n_cells", "n_genes")},
        "excess_zeros": (zeros["observed"] - zeros["nb_expects"]) / max(zeros["observed"], 1e-300),
        "calls_per_thousand": None if called is None else 1000 * len(called) / genes["n"],
        "reads_per_molecule": content.get("reads_per_molecule"),
    }


def _beyond(content: Mapping[str, Any]) -> tuple[float, float]:
    """What a dropout gains beyond the NB that explains most, and its error; NaN in older summaries."""
    if "rivals" not in content:
        return np.nan, np.nan
    rivals = [row for row in content["rivals"] if row["model"] != "nb"]
    if not rivals:
        return content["difference"]["difference"], content["difference"]["se"]
    best = max(rivals, key=lambda row: row["gain"])
    level = content["difference"]["level"]
    return best["zinb_gain"], (best["zinb_high"] - best["zinb_low"]) / (2 * norm.isf((1 - level) / 2))
