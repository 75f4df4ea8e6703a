"""Carry out the verbs: from the words of the command line to what is printed and written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .._words.sentence import sentence
from .options import in_utf8

# Heavy imports stand within the functions: they come after the cheap mistakes.
if TYPE_CHECKING:
    from argparse import Namespace

    from anndata import AnnData

    from ..study import Family, Source, Study


class Outcome(NamedTuple):
    """What a verb has found.

    Attributes
    ----------
    text
        To print, whatever becomes of the files.
    write
        Writes the files into a folder.
    after
        To print when they are in place.
    """

    text: str
    write: Callable[[Path], None]
    after: str = ""


def study(arguments: Namespace, *, command: str) -> Outcome:
    """Read, select, fit, compare and score."""
    from ..study import run_study

    with _how_to_run(arguments) as run:
        adata, source = _selected(arguments), _source(arguments)
        found = run_study(
            adata,
            **_fitting(arguments),
            split=_split(arguments),
            groupby=arguments.groupby,
            rope=arguments.rope,
            alpha=arguments.alpha,
            config=arguments.config,
            n_restarts=arguments.restarts,
            folds=arguments.folds,
            cells=arguments.cells,
            counts=arguments.counts,
            n_samples=arguments.n_samples,
            **run,
        )

    return _report_of(found, str(found), arguments, command, source)


def genes(arguments: Namespace, *, command: str) -> Outcome:
    """Read, select, fit the NB and test the genes."""
    from ..study import called, run_genes, write_csv

    with _how_to_run(arguments) as run:
        adata = _selected(arguments)
        table = run_genes(
            adata,
            **_fitting(arguments),
            counts=arguments.counts,
            alpha=arguments.alpha,
            negligible_dropout=arguments.negligible_dropout,
            smallest_dropout=arguments.smallest_dropout,
            **run,
        )

    def write(folder: Path) -> None:
        write_csv(table, folder / "genes.csv", index=True)

    return Outcome(called(table), write, f"\n{arguments.out / 'genes.csv'}")


def evaluate(arguments: Namespace, *, command: str) -> Outcome:
    """Read, load the models, and judge them."""
    from ..study import load_scvi, run_evaluation, with_genes_of, writable

    with _how_to_run(arguments) as run:
        counts, source = _counts(arguments), _source(arguments)
        say(arguments, f"{title(arguments)}: {counts.n_obs:,} cells x {counts.n_vars:,} genes")
        adata = writable(with_genes_of(counts, arguments.scvi))
        say(arguments, f"kept the {adata.n_vars:,} genes of the model")
        found, of_one = run_evaluation(
            adata,
            load_scvi(adata, arguments.scvi),
            rope=arguments.rope,
            alpha=arguments.alpha,
            counts=arguments.counts,
            n_samples=arguments.n_samples,
            **run,
        )

    text = "\n\n".join(filter(None, [of_one, str(found)]))
    return _report_of(found, text, arguments, command, source)


def _report_of(found: Study, text: str, arguments: Namespace, command: str, source: Source | None) -> Outcome:
    """Write a study as a report."""
    from ..study import write_study

    def write(folder: Path) -> None:
        say(arguments, "drawing and writing")
        write_study(
            found,
            folder,
            title=title(arguments),
            command=command,
            source=source,
            layers=arguments.layers,
        )

    return Outcome(text, write, f"\nreport: {arguments.out / 'report.html'}")


def reads(arguments: Namespace, *, command: str) -> Outcome:
    """Read, select and estimate."""
    from ..study import run_reads, write_csv

    adata = _selected(arguments)
    batches, cells = run_reads(adata, layer=arguments.layer, batch_key=arguments.batch_key)

    def write(folder: Path) -> None:
        write_csv(batches, folder / "reads.csv")
        write_csv(cells, folder / "cells.csv", index=True)

    text = batches.set_index("batch").T.to_string(float_format=lambda value: f"{value:.3g}")
    return Outcome(text, write, f"\n{arguments.out / 'cells.csv'} has a row per cell")


def tune(arguments: Namespace, *, command: str) -> Outcome:
    """Read, select and search."""
    from ..study import run_tuning, write_tuning

    with _how_to_run(arguments) as run:
        adata = _selected(arguments)
        table = run_tuning(
            adata,
            max_evals=arguments.max_evals,
            space=arguments.space,
            shared=not arguments.per_model,
            max_queue_len=arguments.max_queue_len,
            **_fitting(arguments),
            **run,
        )
    return Outcome(
        table.set_index("model").T.to_string(float_format=lambda value: f"{value:.5g}"),
        lambda folder: write_tuning(adata, folder, command=command),
        f"\n{arguments.out / 'tuned.h5ad'} goes into zinbtools study --config tuned",
    )


def meta(arguments: Namespace, *, command: str) -> Outcome:
    """Read summaries, and summarise them."""
    from ..study import run_meta

    family = run_meta(
        arguments.studies, about=arguments.about, by=arguments.by, moderators=arguments.moderators
    )
    return _report_of_family(family, title(arguments), arguments.out, command)


def atlas(arguments: Namespace, *, command: str) -> Outcome:
    """Make the study of each data set, and summarise them."""
    from ..study import run_meta
    from .atlas import about, made

    with _how_to_run(arguments):  # a device that is not there is told at once
        done, left_out = made(arguments, command=command)
    if len(done) < 2:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"{len(done)} of the data sets could be studied, and two are needed; {why}")
    family = run_meta(
        done,
        about=about(arguments),
        by=arguments.by,
        moderators=arguments.moderators,
        left_out=left_out,
    )
    named = f"{len(done) + len(left_out)} data sets"
    return _report_of_family(family, named, arguments.out, command)


def _report_of_family(family: Family, named: str, out: Path, command: str) -> Outcome:
    """Write a family of studies as a report."""
    from ..study import write_meta

    def write(folder: Path) -> None:
        write_meta(family, folder, home=out, title=named, command=command)

    return Outcome(str(family), write, f"\nreport: {out / 'report.html'}")


def reproduce(arguments: Namespace, *, command: str) -> Outcome:
    """Simulate or read, and compare."""
    from .. import study

    with _how_to_run(arguments) as run:
        found = study.reproduce(
            arguments.table,
            n_restarts=arguments.restarts,
            max_evals=arguments.max_evals,
            protocols=arguments.protocol or ("blog2019", "default"),
            names=arguments.dataset,
            params=arguments.params,
            files=dict(arguments.file),
            **run,
        )

    def write(folder: Path) -> None:
        with study.parts(folder) as part:
            with part("table.csv") as path:
                study.write_csv(found.table, path)
            with part("data.csv") as path:
                study.write_csv(found.data, path)
            with part("table.txt") as path:
                path.write_text(f"{command}\n\n{found}\n", encoding="utf-8")

    return Outcome(str(found), write)


VERBS = {
    "study": study,
    "genes": genes,
    "reads": reads,
    "evaluate": evaluate,
    "tune": tune,
    "meta": meta,
    "atlas": atlas,
    "reproduce": reproduce,
}


def title(arguments: Namespace) -> str:
    """Say what a verb works on; FileNotFoundError if it is not there."""
    if "title" in arguments:
        return str(arguments.title)
    if arguments.verb == "atlas":
        from .atlas import data_sets

        return f"{len(data_sets(arguments))} data sets"
    if arguments.verb == "reproduce":
        return "Tables 1 to 3" if arguments.table == "all" else f"Table {arguments.table}"
    if arguments.verb == "meta":
        return f"{len(arguments.studies)} studies"
    if arguments.input is None:
        return f"ZISynth, lambda = {arguments.lam:g}"
    if not arguments.input.exists():
        raise FileNotFoundError(f"there is no file {arguments.input}.")
    return in_utf8(arguments.input.name or arguments.input.resolve().name)  # of "." too


def say(arguments: Namespace, line: str) -> None:
    """Print a line unless the run is to be quiet."""
    if line and not arguments.quiet:
        print(line, flush=True)


def _selected(arguments: Namespace) -> AnnData:
    """Read or simulate the counts, and select what is to be fitted."""
    from ..study import select, writable

    with warnings.catch_warnings():  # names that are left twice are refused by the verbs
        warnings.filterwarnings("ignore", message="(Variable|Observation) names are not unique")
        counts = _counts(arguments)
        say(arguments, f"{title(arguments)}: {counts.n_obs:,} cells x {counts.n_vars:,} genes")
        chosen = select(
            counts,
            layer=arguments.layer,
            min_detection=arguments.min_detection,
            n_top_genes=arguments.n_top_genes,
        )
    adata = writable(chosen)
    n_empty = counts.n_obs - adata.n_obs
    say(arguments, f"kept {adata.n_vars:,} genes; dropped {n_empty:,} cells without a count of these")
    return adata


def _source(arguments: Namespace) -> Source | None:
    """What the counts came from; None for simulated ones."""
    from ..study import source_of

    return None if arguments.input is None else source_of(arguments.input)


def _fitting(arguments: Namespace) -> dict[str, Any]:
    """What a fit is asked, but for how it is run."""
    return {
        "layer": arguments.layer,
        "batch_key": arguments.batch_key,
        "categorical_covariate_keys": arguments.categorical_covariates,
        "continuous_covariate_keys": arguments.continuous_covariates,
        "check_counts": not arguments.round,
        "protocol": arguments.protocol,
        "max_epochs": arguments.max_epochs,
    }


def _split(arguments: Namespace) -> tuple[float, float, float] | None:
    """Shares of training, validation and test cells; of those not tested, a ninth validate, as by default."""
    test = arguments.test_share
    if test is None:
        return None
    validation = 0.0 if arguments.protocol == "blog2019" else (1 - test) / 9  # which stops on test cells
    return 1 - test - validation, validation, test


def _counts(arguments: Namespace) -> AnnData:
    if arguments.input is None:
        from .. import simulate

        counts = simulate.zisynth(lam=arguments.lam, n_obs=arguments.n_obs, rng=arguments.seed)
    else:
        from ..study import read

        counts = read(arguments.input, modality=arguments.modality, transpose=arguments.transpose)
    if arguments.raw and counts.raw is None:
        raise ValueError("--raw takes the counts from raw.X, but the input has no raw; leave it out.")
    if arguments.raw:
        counts = counts.raw.to_adata()
    if arguments.var_names_make_unique:
        counts.var_names_make_unique()
    return counts


@contextmanager
def _how_to_run(arguments: Namespace) -> Iterator[dict[str, Any]]:
    """Give seed, device, workers and where to keep finished jobs, as the verbs take them."""
    from ..study import resolve_device

    resolve_device(arguments.device)  # one that is not there is told before anything is read
    here = "processes" if arguments.processes else "threads"
    with _cluster(arguments.dask) as client:
        yield {
            "device": arguments.device,
            "n_jobs": arguments.n_jobs,
            "executor": client if client is not None else here,
            "resume": arguments.resume,
            "rng": arguments.seed,
            "progress": not arguments.quiet,
        }


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Give a client of the dask scheduler there, or None for no address."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ValueError("--dask needs dask.distributed: pip install 'zinbtools[dask]'.") from error
    try:
        client = Client(address, timeout=30)
    except (OSError, ValueError) as error:
        raise OSError(f"cannot reach a dask scheduler at {address}: {sentence(error)}") from error
    with client:
        yield client
