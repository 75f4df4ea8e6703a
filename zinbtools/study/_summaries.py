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

from .._check.arguments import checked
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
    ``reads_per_molecule``, of counts of reads; and ``path``.

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
