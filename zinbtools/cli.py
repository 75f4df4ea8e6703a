"""The command line: ``zinbtools study counts.h5ad --out study``; ``tune`` and ``reproduce`` beside it."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._options import parser
from ._sentence import sentence as _sentence

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
    Exit status: 0, 1 if the fit failed, 2 for input that cannot be used, 130 when interrupted.

    Examples
    --------
    >>> main(["study", "absent.h5ad", "--out", "study"])
    2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            verb = {"study": study, "tune": tune, "reproduce": reproduce}[arguments.verb]
            verb(arguments, command=shlex.join(["zinbtools", *words]))
    except KeyboardInterrupt:
        kept = f"; the same command goes on from {arguments.resume}" if arguments.resume else ""
        print(f"zinbtools: interrupted; nothing was written to {arguments.out}{kept}", file=sys.stderr)
        return 130
    except (ValueError, KeyError, TypeError, OSError) as error:
        print(f"zinbtools: error: {_sentence(error)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"zinbtools: the fit failed: {_sentence(error)}", file=sys.stderr)
        return 1
    return 0


def study(arguments: Namespace, *, command: str) -> None:
    """Run ``zinbtools study``: read, select, compare, print, write."""
    _check_input(arguments)

    # Heavy imports come after the cheap mistakes.
    from .study import run_study, staged, write_study

    with staged(arguments.out) as folder, _how_to_run(arguments) as run:
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
        _say(arguments, "drawing and writing")
        write_study(found, folder, title=title, command=command)
    print(f"\n{found}")
    _say(arguments, f"\nreport: {arguments.out / 'report.html'}")


def tune(arguments: Namespace, *, command: str) -> None:
    """Run ``zinbtools tune``: read, select, search, print, write."""
    _check_input(arguments)

    from . import get, pl, tl
    from .study import staged, write_csv, write_h5ad

    with staged(arguments.out) as folder, _how_to_run(arguments) as run:
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
        summary = get.tuning_summary_df(adata)
        write_csv(get.tuning_df(adata), folder / "trials.csv")
        write_csv(summary, folder / "summary.csv")
        pl.tuning(adata, show=False, return_fig=True).savefig(folder / "tuning.png", dpi=240)  # type: ignore[union-attr]
        adata.uns["zinbtools"]["tuning"]["params"]["command"] = command
        write_h5ad(adata, folder / "tuned.h5ad")
    print(f"\n{summary.set_index('model').T.to_string(float_format=lambda value: f'{value:.5g}')}")
    _say(arguments, f"\n{arguments.out / 'tuned.h5ad'} goes into zinbtools study --config tuned")


def reproduce(arguments: Namespace, *, command: str) -> None:
    """Run ``zinbtools reproduce``: simulate or read, compare, print, write."""
    from . import study
    from .study import staged

    with staged(arguments.out) as folder, _how_to_run(arguments) as run:
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
        study.write_csv(found.table, folder / "table.csv")
        study.write_csv(found.data, folder / "data.csv")
        (folder / "table.txt").write_text(f"{command}\n\n{found}\n", encoding="utf-8")
    print(f"\n{found}")


def _check_input(arguments: Namespace) -> None:
    if arguments.input is not None and not arguments.input.exists():
        raise FileNotFoundError(f"there is no file {arguments.input}.")


def _say(arguments: Namespace, line: str) -> None:
    if not arguments.quiet:
        print(line, flush=True)


def _selected(arguments: Namespace) -> tuple[str, AnnData]:
    """The counts' title, and what is to be fitted of them."""
    from .study import select, writable

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
        from . import simulate

        adata = simulate.zisynth(lam=arguments.lam, n_obs=arguments.n_obs, rng=arguments.seed)
        return f"ZISynth, lambda = {arguments.lam:g}", adata
    from .study import read

    return arguments.input.name, read(arguments.input)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"zinbtools: {category.__name__}: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
