"""Make the 2019 study's Tables 1 to 3 again: our figures beside the printed ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from .. import datasets, get, simulate, tl
from .._anndata.genes_and_cells import select
from .._check.arguments import checked
from ..get._fitted import resolve_device
from ..jobs import Where
from ..jobs.checkpoints import Checkpoints, Died, fingerprint
from ._printed import METRICS, ROWS, SPLIT, Row

if TYPE_CHECKING:
    from anndata import AnnData

Protocol = Literal["blog2019", "default"]
PROTOCOLS: tuple[Protocol, ...] = ("blog2019", "default")


@dataclass(frozen=True, eq=False)
class Reproduction:
    """Table of the study with ours beside it.

    Attributes
    ----------
    table
        One row per data set, protocol and metric: ``table`` (its number in the study), ``nb_printed``,
        ``zinb_printed``, ``better_printed``, ``nb``, ``zinb``, ``better`` (medians, and the model that is
        significantly better by the one-sided rank-sum test at 5 %), ``nb_runs``, ``zinb_runs``,
        ``pval_nb_better``, ``pval_zinb_better`` and ``agreement``.
    data
        One row per data set and protocol: mean dropout as printed and ours, verdict and sentence.
    left_out
        Data sets that are not there, and why.
    """

    table: pd.DataFrame
    data: pd.DataFrame
    left_out: dict[str, str]

    def __str__(self) -> str:
        """Write each protocol's table, the agreement and what was left out."""
        parts = []
        for protocol, rows in self.table.groupby("protocol", sort=False):
            shown = rows[
                ["dataset", "metric", "nb_printed", "zinb_printed", "better_printed", "nb", "zinb", "better"]
            ]
            tally = rows["agreement"].value_counts()
            parts += [
                f"protocol {protocol}",
                shown.assign(agreement=rows["agreement"]).to_string(index=False, float_format="%.3f"),
                ", ".join(f"{number} {word}" for word, number in tally.items()),
                *self.data.loc[self.data["protocol"] == protocol, "sentence"],
            ]
        parts += [f"left out: {name}: {why}" for name, why in self.left_out.items()]
        return "\n\n".join(parts)


@checked
def reproduce(
    table: Literal[1, 2, 3, "all"],
    *,
    n_restarts: int = 100,
    max_evals: int = 100,
    protocols: Sequence[Protocol] = PROTOCOLS,
    names: Sequence[str] | None = None,
    params: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    files: Mapping[str, str | os.PathLike[str]] | None = None,
    device: str = "auto",
    n_jobs: int | Literal["auto"] = "auto",
    executor: Where = "threads",
    resume: str | os.PathLike[str] | None = None,
    rng: int = 0,
    progress: bool = True,
) -> Reproduction:
    """Make a table of the study again, or all of them, under its protocol and under ours.

    The study searched for architecture and learning rate of each model and data set with hyperopt, on the
    cells that it tested on, and never published what it found; under its protocol that search is done again,
    on half of these cells. Under ours the defaults are used.

    Parameters
    ----------
    table
        1: simulated counts. 2: spike-ins. 3: cells. ``"all"``: the three of them.
    n_restarts
        Fits per model; the study had 100.
    max_evals
        Settings to try for each model under the protocol of the study, which tried 100; 0 leaves the
        defaults.
    protocols
        ``"blog2019"`` and ``"default"``, as for `zinbtools.tl.fit_nb_zinb`.
    names
        Data sets, by the words of the study or of `zinbtools.datasets`, or lambdas; all by default.
    params
        Parameters of the simulated counts, as for `zinbtools.simulate.zisynth`.
    files
        For data sets of `zinbtools.datasets`, where their files are; others are fetched. For those of
        Table 3 it can be an h5ad file with raw counts.
    rng
        Seed of everything.

    Raises
    ------
    ValueError
        If there is no such table, data set or protocol, ``max_evals`` is negative, or none of the data sets
        is there.

    Examples
    --------
    >>> found = reproduce(1, n_restarts=2, names=["0"], protocols=["default"])  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    """
    rows = _chosen(table, names)
    run = {"device": device, "n_jobs": n_jobs, "executor": executor, "rng": rng, "progress": progress}
    left_out: dict[str, str] = {}
    if progress:
        print("\n".join(f"{row.name}: {_whence(row, files or {})}" for row in rows), flush=True)
    found: list[dict[str, Any]] = []
    for row in rows:
        try:
            adata = _counts(row, params, files or {}, rng)
        except (OSError, ValueError) as error:
            left_out[row.name] = str(error)
            continue
        for protocol in protocols:
            if progress:
                print(f"{row.name}, protocol {protocol}: {adata.n_obs:,} x {adata.n_vars:,}", flush=True)
            folder = None if resume is None else Path(resume, _word(row, protocol))
            procedure = _Procedure(protocol, n_restarts, max_evals if protocol == "blog2019" else 0, run)
            found.append({"row": row, "protocol": protocol, **_kept(folder, procedure, adata)})
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"none of the data sets of {_title(table)} is there: {why}")
    return Reproduction(
        pd.DataFrame(line for part in found for line in _lines(**part)),
        pd.DataFrame(
            {
                "table": part["row"].table,
                "dataset": part["row"].name,
                "protocol": part["protocol"],
                "mean_dropout_printed": part["row"].mean_dropout,
                "mean_dropout": part["mean_dropout"],
                **part["difference"],
                "verdict": part["verdict"],
                "sentence": part["sentence"],
            }
            for part in found
        ),
        left_out,
    )


def _chosen(table: Literal[1, 2, 3, "all"], names: Sequence[str] | None) -> list[Row]:
    of_table = [row for row in ROWS if table in (row.table, "all")]
    if names is None:
        return of_table
    by_name = {word: row for row in of_table for word in _names(row)}
    unknown = [name for name in names if name.lower() not in by_name]
    if unknown:
        known = ", ".join(row.dataset or f"{row.lam:g}" for row in of_table)
        raise ValueError(f"there is no {unknown[0]!r} in {_title(table)}; there are {known}.")
    wanted = {by_name[name.lower()].name for name in names}
    return [row for row in of_table if row.name in wanted]


def _title(table: Literal[1, 2, 3, "all"]) -> str:
    return "the three tables" if table == "all" else f"table {table}"


def _names(row: Row) -> list[str]:
    return [row.name.lower(), row.dataset if row.dataset is not None else f"{row.lam:g}"]


def _word(row: Row, protocol: str) -> str:
    """Name the folder of a row."""
    return f"{row.dataset or f'zisynth-{row.lam:g}'}-{protocol}"


def _whence(row: Row, files: Mapping[str, str | os.PathLike[str]]) -> str:
    """Say where the counts of a row come from."""
    if row.dataset is None:
        return "simulated"
    return (
        f"from {files[row.dataset]}"
        if row.dataset in files
        else "from its public home, or the cache of fetched files"
    )


def _counts(
    row: Row,
    params: Mapping[str, Any] | str | os.PathLike[str] | None,
    files: Mapping[str, str | os.PathLike[str]],
    rng: int,
) -> AnnData:
    """Load or simulate the data set as the study used it."""
    if row.dataset is None:
        assert row.lam is not None
        return simulate.zisynth(lam=row.lam, params=params, rng=rng)
    if row.dataset not in files:
        if row.dataset.startswith("svensson_ercc"):
            return datasets.svensson_ercc(1 if row.dataset.endswith("1") else 2)
        fetch: Callable[[], AnnData] = getattr(datasets, row.dataset)
        return fetch()
    known, path = datasets.info(row.dataset), Path(files[row.dataset])
    if path.suffix == ".h5ad" and not known.spike_ins:
        import anndata

        return select(anndata.read_h5ad(path), n_top_genes=known.n_top_genes)
    return datasets.from_files(row.dataset, path)


@dataclass(frozen=True)
class _Procedure:
    """How the two models are compared for one entry of a table; ``run`` says where, and by which seed."""

    protocol: Protocol
    n_restarts: int
    max_evals: int
    run: Mapping[str, Any]

    def compare(self, adata: AnnData, folder: Path | None) -> dict[str, Any]:
        """Tune, fit and compare; finished fits are kept in the folder."""
        batches = adata.obs["batch"].nunique() if "batch" in adata.obs else 1
        settings: dict[str, Any] = {
            "protocol": self.protocol,
            "batch_key": "batch" if batches > 1 else None,
            **self.run,
        }
        restarts: dict[str, Any] = {
            "n_restarts": self.n_restarts,
            "folds": 1,
            "metrics": METRICS,
            "layers": (),
        }
        if self.max_evals:
            kept = None if folder is None else folder / "tuning"
            search: dict[str, Any] = {"max_evals": self.max_evals, "space": "blog2019", "shared": False}
            tl.tune(adata, **search, **settings, resume=kept)
            restarts |= {"config": "tuned", "split": SPLIT}
        kept = None if folder is None else folder / "fits"
        tl.model_selection(adata, **restarts, **settings, resume=kept)
        verdict, metrics = get.verdict(adata), get.metrics_df(adata)
        dropout = metrics.loc[metrics["metric"] == "mean_dropout", "value"]
        columns = ["difference", "low", "high", "rope", "nll"]
        return {
            "tests": verdict.tests.to_dict("records"),
            "difference": verdict.differences.iloc[0][columns].to_dict(),
            "mean_dropout": float(np.median(dropout)),
            "verdict": verdict.verdict,
            "sentence": verdict.sentence,
        }


def _kept(folder: Path | None, procedure: _Procedure, adata: AnnData) -> dict[str, Any]:
    """Return the comparison, from the folder if it is finished there."""
    if folder is None:
        return procedure.compare(adata.copy(), None)
    counts = csr_matrix(adata.X)
    batches = adata.obs["batch"].to_numpy(dtype=str) if "batch" in adata.obs else None
    arrays = (counts.data, counts.indices, counts.indptr, batches)
    finished: Checkpoints[dict[str, Any]] = Checkpoints(
        folder / "finished",
        {
            "jobs": "comparison",
            "data": fingerprint(arrays),
            "protocol": procedure.protocol,
            "seed": procedure.run["rng"],
            "device": resolve_device(procedure.run["device"]).type,
        },
    )
    key = f"{procedure.n_restarts}-restarts-{procedure.max_evals}-evals"
    if key not in finished:
        finished.save(key, procedure.compare(adata.copy(), folder))
    result = finished.load(key)
    assert not isinstance(result, Died)  # what runs in this process cannot have died unseen
    return result


def _lines(row: Row, protocol: str, tests: Iterable[Mapping[str, Any]], **_: Any) -> Iterable[dict[str, Any]]:
    """Yield the table's rows for one data set."""
    for test in tests:
        printed = row.metrics[test["metric"]]
        yield {
            "table": row.table,
            "dataset": row.name,
            "protocol": protocol,
            "metric": test["metric"],
            "nb_printed": printed.nb,
            "zinb_printed": printed.zinb,
            "better_printed": printed.better,
            "nb": test["nb_median"],
            "zinb": test["zinb_median"],
            "better": test["better"],
            "nb_runs": test["nb_runs"],
            "zinb_runs": test["zinb_runs"],
            "pval_nb_better": test["pval_nb_better"],
            "pval_zinb_better": test["pval_zinb_better"],
            "agreement": _agreement(printed.better, test["better"]),
        }


def _agreement(printed: str, ours: str) -> str:
    if printed == ours:
        return "agree"
    return "opposite" if printed and ours else "only printed" if printed else "only ours"
