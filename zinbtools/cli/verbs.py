"""Carry out the verbs: from the words of the command line to what is printed and written."""

from __future__ import annotations

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
    from ..study import run_study, write_study

    with _how_to_run(arguments) as run:
        adata = _selected(arguments)
        found = run_study(
            adata,
            layer=arguments.layer,
            batch_key=arguments.batch_key,
            check_counts=not arguments.round,
            protocol=arguments.protocol,
            config=arguments.config,
            n_restarts=arguments.restarts,
            folds=arguments.folds,
            max_epochs=arguments.max_epochs,
            cells=arguments.cells,
            counts=arguments.counts,
            **run,
        )

    def write(folder: Path) -> None:
        say(arguments, "drawing and writing")
        write_study(found, folder, title=title(arguments), command=command)

    return Outcome(str(found), write, f"\nreport: {arguments.out / 'report.html'}")


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
            layer=arguments.layer,
            batch_key=arguments.batch_key,
            check_counts=not arguments.round,
            protocol=arguments.protocol,
            max_epochs=arguments.max_epochs,
            **run,
        )
    return Outcome(
        table.set_index("model").T.to_string(float_format=lambda value: f"{value:.5g}"),
        lambda folder: write_tuning(adata, folder, command=command),
        f"\n{arguments.out / 'tuned.h5ad'} goes into zinbtools study --config tuned",
    )


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


VERBS = {"study": study, "tune": tune, "reproduce": reproduce}


def title(arguments: Namespace) -> str:
    """Say what a verb works on; FileNotFoundError if it is not there."""
    if arguments.verb == "reproduce":
        return f"Table {arguments.table}"
    if arguments.simulate:
        return f"ZISynth, lambda = {arguments.lam:g}"
    if not arguments.input.exists():
        raise FileNotFoundError(f"there is no file {arguments.input}.")
    return in_utf8(arguments.input.name)


def say(arguments: Namespace, line: str) -> None:
    """Print a line unless the run is to be quiet."""
    if line and not arguments.quiet:
        print(line, flush=True)


def _selected(arguments: Namespace) -> AnnData:
    """Read or simulate the counts, and select what is to be fitted."""
    from ..study import select, writable

    counts = _counts(arguments)
    say(arguments, f"{title(arguments)}: {counts.n_obs:,} cells x {counts.n_vars:,} genes")
    adata = writable(
        select(
            counts,
            layer=arguments.layer,
            min_detection=arguments.min_detection,
            n_top_genes=arguments.n_top_genes,
        )
    )
    n_empty = counts.n_obs - adata.n_obs
    say(arguments, f"kept {adata.n_vars:,} genes; dropped {n_empty:,} cells without a count of these")
    return adata


def _counts(arguments: Namespace) -> AnnData:
    if arguments.simulate:
        from .. import simulate

        counts = simulate.zisynth(lam=arguments.lam, n_obs=arguments.n_obs, rng=arguments.seed)
    else:
        from ..study import read

        counts = read(arguments.input)
    if not arguments.raw:
        return counts
    if counts.raw is None or arguments.layer is not None:
        found = "the input has no raw" if counts.raw is None else f"--layer {arguments.layer} is given too"
        raise ValueError(f"--raw takes the counts from raw.X, but {found}; give one of --raw and --layer.")
    return counts.raw.to_adata()


@contextmanager
def _how_to_run(arguments: Namespace) -> Iterator[dict[str, Any]]:
    """Give seed, device, workers and where to keep finished jobs, as the verbs take them."""
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
