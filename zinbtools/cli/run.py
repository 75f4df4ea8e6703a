"""The command line: ``zinbtools study counts.h5ad --out study``; ``tune`` and ``reproduce`` beside it."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from errno import EDQUOT, ENOSPC
from functools import partial
from pathlib import Path
from signal import SIGINT
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from .._files.leftovers import sweep
from .._files.signals import Stopped, stop_on_signals
from .._words.sentence import sentence as _sentence
from ._streams import steady_streams
from .options import in_utf8, parser

if TYPE_CHECKING:
    from argparse import Namespace

    from anndata import AnnData


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    Exit status: 0 when all results are in place, 1 if the fit failed, 2 for input that cannot be used and
    results that cannot be written, and 128 + its number for a signal: 130 for Ctrl-C, 143 for SIGTERM, 129
    for SIGHUP.

    Examples
    --------
    >>> main(["study", "absent.h5ad", "--out", "study"])
    2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with steady_streams():
        return _status(parser().parse_args(words), command=in_utf8(shlex.join(["zinbtools", *words])))


def _status(arguments: Namespace, *, command: str) -> int:
    """Run a verb, and say in a sentence what went wrong."""
    arguments.done = False
    try:
        with stop_on_signals(), warnings.catch_warnings(), _no_windows():
            warnings.showwarning = _show_warning
            {"study": study, "tune": tune, "reproduce": reproduce}[arguments.verb](arguments, command=command)
    except KeyboardInterrupt as signal:
        if not arguments.done:
            return _interrupted(arguments, signal if isinstance(signal, Stopped) else Stopped(SIGINT))
    except (ValueError, KeyError, TypeError, OSError) as error:
        print(f"zinbtools: error: {_sentence(error)}{_which_disk(error)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"zinbtools: the fit failed: {_sentence(error)}", file=sys.stderr)
        return 1
    return 0


def _interrupted(arguments: Namespace, signal: Stopped) -> int:
    how = "interrupted" if signal.name == "SIGINT" else f"ended by {signal.name}"
    kept = f"; the same command goes on from {arguments.resume}" if arguments.resume else ""
    print(f"zinbtools: {how}; nothing was written to {arguments.out}{kept}", file=sys.stderr)
    return signal.exit_status


def _which_disk(error: Exception) -> str:
    """Where there is no room, if the error does not say that itself."""
    full = isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT) and error.filename is None
    return " (neither --out nor --resume; perhaps the folder for temporary files, TMPDIR)" if full else ""


@contextmanager
def _no_windows() -> Iterator[None]:
    """Draw into files, whatever a notebook or a desktop told the programs that it starts to draw with."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        del os.environ["MPLBACKEND"]
        if before is not None:
            os.environ["MPLBACKEND"] = before


def study(arguments: Namespace, *, command: str) -> None:
    """Run ``zinbtools study``: read, select, compare, print, write."""
    _check_input(arguments)

    # Heavy imports come after the cheap mistakes.
    from ..study import run_study, write_study

    with ExitStack() as at_last:
        with _staged(arguments, _title(arguments)) as folder, _how_to_run(arguments) as run:
            title, adata = _selected(arguments)
            found = run_study(
                adata,
                layer=arguments.layer,
                batch_key=arguments.batch_key,
                check_counts=not arguments.round,
                protocol=arguments.protocol,
                config=arguments.config,
                n_restarts=arguments.restarts,
                max_epochs=arguments.max_epochs,
                **run,
            )
            at_last.callback(print, f"\n{found}")  # whatever becomes of the files
            _say(arguments, "drawing and writing")
            write_study(found, folder, title=title, command=command)
        arguments.done = True
    _say(arguments, f"\nreport: {arguments.out / 'report.html'}")


def tune(arguments: Namespace, *, command: str) -> None:
    """Run ``zinbtools tune``: read, select, search, print, write."""
    _check_input(arguments)

    from .. import get, tl
    from ..study import write_tuning

    with ExitStack() as at_last:
        with _staged(arguments, _title(arguments)) as folder, _how_to_run(arguments) as run:
            _, adata = _selected(arguments)
            tl.tune(
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
            table = get.tuning_summary_df(adata).set_index("model").T
            at_last.callback(print, f"\n{table.to_string(float_format=lambda value: f'{value:.5g}')}")
            write_tuning(adata, folder, command=command)
        arguments.done = True
    _say(arguments, f"\n{arguments.out / 'tuned.h5ad'} goes into zinbtools study --config tuned")


def reproduce(arguments: Namespace, *, command: str) -> None:
    """Run ``zinbtools reproduce``: simulate or read, compare, print, write."""
    from .. import study

    with ExitStack() as at_last:
        with _staged(arguments, f"Table {arguments.table}") as folder, _how_to_run(arguments) as run:
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
            at_last.callback(print, f"\n{found}")
            with study.parts(folder) as part:
                with part("table.csv") as path:
                    study.write_csv(found.table, path)
                with part("data.csv") as path:
                    study.write_csv(found.data, path)
                with part("table.txt") as path:
                    path.write_text(f"{command}\n\n{found}\n", encoding="utf-8")
        arguments.done = True


def _staged(arguments: Namespace, title: str) -> AbstractContextManager[Path]:
    """The folder for the results; before it, what earlier runs left elsewhere goes."""
    from ..study import staged

    with suppress(FileNotFoundError):  # no such folder can be written to; whoever needs one will say so
        sweep(Path(gettempdir()), "zinbtools-")
    if arguments.resume:
        sweep(arguments.resume, "zinbtools-")
    return staged(arguments.out, verb=arguments.verb, title=title, say=partial(_say, arguments))


def _title(arguments: Namespace) -> str:
    return f"ZISynth, lambda = {arguments.lam:g}" if arguments.simulate else in_utf8(arguments.input.name)


def _check_input(arguments: Namespace) -> None:
    if arguments.input is not None and not arguments.input.exists():
        raise FileNotFoundError(f"there is no file {arguments.input}.")


def _say(arguments: Namespace, line: str) -> None:
    if not arguments.quiet:
        print(line, flush=True)


def _selected(arguments: Namespace) -> tuple[str, AnnData]:
    """The counts' title, and what is to be fitted of them."""
    from ..study import select, writable

    title, counts = _counts(arguments)
    if arguments.raw:
        counts = _raw(counts, arguments.layer)
    _say(arguments, f"{title}: {counts.n_obs:,} cells x {counts.n_vars:,} genes")
    adata = writable(
        select(
            counts,
            layer=arguments.layer,
            min_detection=arguments.min_detection,
            n_top_genes=arguments.n_top_genes,
        )
    )
    n_empty = counts.n_obs - adata.n_obs
    _say(arguments, f"kept {adata.n_vars:,} genes; dropped {n_empty:,} cells without a count of these")
    return title, adata


def _raw(adata: AnnData, layer: str | None) -> AnnData:
    """The cells with what ``raw`` holds of them."""
    if adata.raw is None or layer is not None:
        found = "the input has no raw" if adata.raw is None else f"--layer {layer} is given too"
        raise ValueError(f"--raw takes the counts from raw.X, but {found}; give one of --raw and --layer.")
    return adata.raw.to_adata()


@contextmanager
def _how_to_run(arguments: Namespace) -> Iterator[dict[str, Any]]:
    """Seed, device, workers and where to keep finished jobs, as the verbs take them."""
    with _cluster(arguments.dask) as executor:
        yield {
            "device": arguments.device,
            "n_jobs": arguments.n_jobs,
            "executor": executor,
            "resume": arguments.resume,
            "rng": arguments.seed,
            "progress": not arguments.quiet,
        }


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """A client of the dask scheduler there, or None for no address."""
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
        raise OSError(f"cannot reach a dask scheduler at {address}: {_sentence(error)}") from error
    with client:
        yield client


def _counts(arguments: Namespace) -> tuple[str, AnnData]:
    if arguments.simulate:
        from .. import simulate

        adata = simulate.zisynth(lam=arguments.lam, n_obs=arguments.n_obs, rng=arguments.seed)
        return _title(arguments), adata
    from ..study import read

    return _title(arguments), read(arguments.input)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"zinbtools: {category.__name__}: {' '.join(str(message).split())}", file=sys.stderr)
