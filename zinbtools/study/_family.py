"""Many studies as one answer: tables, a forest and a page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import norm

from .. import pl, tl
from .._check.arguments import checked
from .._words.answers import Answer
from .._words.numbers import counted, decimals, ends, with_ends
from ..get import MetaAnalysis
from ..get._meta import ALL
from ._csv import write_csv
from ._evidence import ABSENT, ReportTable
from ._figures import Picture, picture
from ._page import page
from ._summaries import read_genes, read_summaries

EFFECT = "Gain of the ZINB over the NB"
BEYOND = "Gain of the ZINB over the NB, both with what explains most"
UNIT = "thousandths of the NB's log likelihood"
_MOST_GENES = 25  # in the report
_REGION = 1.0  # thousandths of the NB's log likelihood: what makes no practical difference by default


@dataclass(frozen=True)
class Family:
    """Studies, a row each, and what they say together, as `zinbtools.study.run_meta` finds.

    Attributes
    ----------
    table
        What `read_summaries` gives, with what is known about the studies.
    found
        What `zinbtools.tl.meta` says of the ZINB's gain.
    beyond
        The same of its gain beyond what else explains it; None if a summary does not tell it.
    genes
        What `read_genes` gives; without a row where no study tells of genes.
    left_out
        Data sets of which there is no study, and why.
    """

    table: pd.DataFrame
    found: MetaAnalysis
    beyond: MetaAnalysis | None
    genes: pd.DataFrame
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def measures(self) -> dict[str, tuple[str, MetaAnalysis]]:
        """Title and finding of what was summarised, by a short name."""
        told = {"gain": (EFFECT, self.found)}
        return told if self.beyond is None else {**told, "beyond": (BEYOND, self.beyond)}

    def __str__(self) -> str:
        parts = [f"{label}, {UNIT}\n{found}" for label, found in self.measures.values()]
        parts += [f"left out: {name}: {why}" for name, why in self.left_out.items()]
        return "\n\n".join(parts)


@checked
def with_columns_of(table: pd.DataFrame, about: pd.DataFrame | str | os.PathLike[str]) -> pd.DataFrame:
    """Add what is known about studies to a table of them.

    Parameters
    ----------
    table
        A row for each study, named by the index.
    about
        A table with a row for each study, named by the index; or a CSV file with a header, whose first column
        has the names. Other rows are left out.

    Raises
    ------
    ValueError
        If it says nothing of a study, or twice.
    """
    what = "the table about studies" if isinstance(about, pd.DataFrame) else os.fspath(about)
    known = about if isinstance(about, pd.DataFrame) else pd.read_csv(about, index_col=0, dtype={0: str})
    known = known.set_axis(known.index.astype(str))
    for name in table.index:
        n = int((known.index == name).sum())
        if n != 1:
            raise ValueError(f"{what} has {n} rows for study {name!r}; it needs one, with that name first.")
    return table[[name for name in table if name not in known]].join(known)


@checked
def run_meta(
    paths: Iterable[str | os.PathLike[str]],
    *,
    about: pd.DataFrame | str | os.PathLike[str] | None = None,
    by: str | None = None,
    moderators: Sequence[str] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Family:
    """Read summaries of studies and summarise them in one answer.

    Parameters
    ----------
    paths
        As for `read_summaries`.
    about
        As for `with_columns_of`.
    by, moderators
        As for `zinbtools.tl.meta`.
    left_out
        Data sets of which there is no study, and why, to be told beside.

    Returns
    -------
    ``table``, the studies, ``found``, what `zinbtools.tl.meta` says of the ZINB's gain, and ``beyond``, what
    it says of the gain beyond what else explains it.
    """
    table = read_summaries(paths)
    if about is not None:
        table = with_columns_of(table, about)
    told = table[["beyond", "beyond_se"]].notna().all(axis=None)
    asked: dict[str, Any] = {"by": by, "moderators": moderators, "region": _REGION}
    return Family(
        table,
        tl.meta(table, **asked),
        tl.meta(table, effect="beyond", se="beyond_se", **asked) if told else None,
        read_genes(table["path"].to_dict()),
        left_out or {},
    )


def write_meta(
    family: Family,
    folder: Path,
    *,
    home: Path | None = None,
    title: str = "studies",
    command: str | None = None,
) -> None:
    """Write the report, the forest and the tables of a family of studies.

    Parameters
    ----------
    family
        What `run_meta` gives.
    folder
        An existing folder, for ``report.html``, ``forest.png`` and tables: ``meta.csv`` with a row per
        measure and group, ``studies.csv`` per study, ``genes.csv`` per gene, ``moderators.csv`` if asked for.
    home
        Where ``folder`` will be in the end, for links to the reports of the studies; by default where it is.
    title, command
        What the studies are called, and the command line that summarised them, for the report.
    """
    write_csv(_stacked(family, "groups", "group"), folder / "meta.csv")
    studies = family.table.join(family.found.studies[["group", "weight", "without"]])
    write_csv(studies.rename_axis("study"), folder / "studies.csv", index=True)
    if not family.found.moderators.empty:
        write_csv(_stacked(family, "moderators", "term"), folder / "moderators.csv")
    if len(family.genes):
        write_csv(family.genes, folder / "genes.csv", index=True)
    drawn = [_forest(label, found) for label, found in family.measures.values()]
    (folder / "forest.png").write_bytes(drawn[0].png)
    text = page(
        "family.html.j2",
        title=title,
        date=date.today().isoformat(),
        headline=_headline(family.table),
        plain=_plain(family),
        left_out=family.left_out,
        pictures=drawn,
        tables=[_studies(family, home or folder), _groups(family), *_moderators(family), *_genes(family)],
        command=command,
        version=version("zinbtools"),
    )
    (folder / "report.html").write_text(text, encoding="utf-8")


def _stacked(family: Family, attribute: str, name: str) -> pd.DataFrame:
    """One table of all measures, which the first column tells apart."""
    tables = {measure: getattr(found, attribute) for measure, (_, found) in family.measures.items()}
    return pd.concat(tables, names=["measure", name]).reset_index()


def _headline(table: pd.DataFrame) -> str:
    n = int((table["verdict"] == Answer.ZINB).sum())
    return f"Zero inflation is shown in {n or 'none'} of {counted(len(table), 'data set')}"


def _plain(family: Family) -> str:
    """Say what the next data set will show."""
    row = family.found.groups.loc[ALL]
    if pd.isna(row["next_above"]):
        return f"{counted(int(row['n_studies']), 'data set')} do not say what the next will show."
    said = (
        "In the next such data set a ZINB is better than an NB by more than makes a practical difference "
        f"with a probability of {100 * row['next_above']:.0f} %"
    )
    if family.beyond is None:
        return f"{said}."
    left = family.beyond.groups.loc[ALL, "next_above"]
    return (
        f"{said}; where both models have what explains most, a dispersion of the cell or copies of reads, of "
        f"{100 * left:.0f} %."
    )


def _forest(label: str, found: MetaAnalysis) -> Picture:
    return picture(
        "forest",
        label,
        "A square per study with its interval, larger the more it weighs; a diamond for the mean of a "
        "group, and the bar below it for where the true effect of another such study is expected. To the "
        "right of the dotted line it makes a practical difference.",
        f"{label}. {found}",
        partial(pl.meta, found, label=UNIT),
    )


def _studies(family: Family, home: Path) -> ReportTable:
    """A row for each data set, with a link to its report where there is one."""
    links, rows = {}, []
    grouped = len(family.found.groups) > 1
    for name, row in family.table.iterrows():
        report = Path(row["path"]).with_name("report.html")
        if report.exists():
            links[str(name)] = Path(os.path.relpath(report.resolve(), home.resolve())).as_posix()
        rows.append(
            [
                str(name),
                *([family.found.studies.loc[name, "group"]] if grouped else []),
                row["counts"] or ABSENT,
                f"{row['n_cells']:,}",
                f"{row['n_genes']:,}",
                row["verdict"],
                row["explained_by"] or ABSENT,
                _interval(row["effect"], row["se"], family.found.level),
                _interval(row["beyond"], row["beyond_se"], family.found.level),
                _number(100 * row["excess_zeros"], " %"),
                _number(row["calls_per_thousand"]),
                _number(row["reads_per_molecule"]),
            ]
        )
    columns = [
        "study",
        *(["group"] if grouped else []),
        "counts",
        "cells",
        "genes",
        "verdict",
        "explained by",
    ]
    return ReportTable(
        "Data sets",
        [*columns, "gain", "beyond", "zeros in excess", "genes called per 1,000", "reads per molecule"],
        rows,
        "Gains of the ZINB over the NB in held-out log likelihood, thousandths of the NB's: as they are, and "
        "where both have what explains most (a dispersion of the cell, copies of reads).",
        words=frozenset(place for place, name in enumerate(columns) if name not in ("cells", "genes")),
        links=links,
    )


def _groups(family: Family) -> ReportTable:
    rows = [
        [
            name,
            measure,
            f"{row['n_studies']:.0f}",
            with_ends(row["effect"], row["low"], row["high"])
            if row["n_studies"] > 1
            else f"{row['effect']:.3g}",
            _next(row),
            _number(100 * row["next_above"], " %"),
            _number(row["tau"]),
            _number(100 * row["i2"], " %"),
        ]
        for measure, (_, found) in family.measures.items()
        for name, row in found.groups.iterrows()
    ]
    return ReportTable(
        "What they say together",
        ["group", "measure", "studies", "mean", "the next", "beyond 1", "tau", "I²"],
        rows,
        "Mean effect with its interval; between which limits that of another such data set is expected, and "
        "how probable it is that it is above 1, a thousandth of the log likelihood; tau, the standard "
        "deviation of the true effects; I², the share of the variance of the estimates that is not error.",
        words=frozenset({0, 1}),
    )


def _moderators(family: Family) -> list[ReportTable]:
    rows = [
        [
            str(name),
            measure,
            f"{row['effect']:.3g} ({row['low']:.3g} to {row['high']:.3g})",
            f"{row['pval']:.2g}",
        ]
        for measure, (_, found) in family.measures.items()
        for name, row in found.moderators.iterrows()
    ]
    note = "One model of all studies: the intercept, and how much the effect differs with each of these."
    columns = ["term", "measure", "effect", "p"]
    return [ReportTable("What differs with what", columns, rows, note, frozenset({0, 1}))] if rows else []


def _genes(family: Family) -> list[ReportTable]:
    genes = family.genes
    shown = genes[genes["n_replicated"] >= 2].head(_MOST_GENES)
    if shown.empty:
        return []
    rows = [
        [str(name), *(str(row[of]) for of in ("n_replicated", "n_called", "n_tested")), row["called_in"]]
        for name, row in shown.iterrows()
    ]
    n = int((genes["n_replicated"] >= 2).sum())
    note = (
        f"{counted(n, 'gene')} of {len(genes):,} {'is' if n == 1 else 'are'} zero-inflated in two studies or "
    )
    note += "more, at a false discovery rate of 5 % for each number of studies; genes.csv has all. Genes are "
    note += "the same where their names are; a gene that a column or copies explain counts as none."
    columns = ["gene", "zero-inflated in at least", "called in", "tested in", "called by"]
    return [ReportTable("Genes of several studies", columns, rows, note, frozenset({0, 4}))]


def _next(row: pd.Series) -> str:
    low, high = row["next_low"], row["next_high"]
    return ABSENT if pd.isna(low) else ends(low, high, decimals(low, high))


def _interval(value: float, se: float, level: float) -> str:
    half = norm.isf((1 - level) / 2) * se
    return ABSENT if pd.isna(value) else with_ends(value, value - half, value + half)


def _number(value: float | None, unit: str = "") -> str:
    return ABSENT if value is None or pd.isna(value) else f"{value:.3g}{unit}"
