"""The command line: ``zinbtools study counts.h5ad --out study``; ``tune`` and ``reproduce`` beside it."""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData

EPILOG = """examples:
  zinbtools study counts.h5ad --layer counts --batch-key sample --n-top-genes 1200 --out study
  zinbtools study --simulate zisynth --lam 0 --out study

DIR gets annotated.h5ad (counts and all results; opens in scanpy), report.html (one self-contained page),
differences.csv, model_selection.csv, metrics.csv, genes.csv, ppc.csv, history.csv and figures/*.png, all of
them once everything is done."""

TUNE_EPILOG = """examples:
  zinbtools tune counts.h5ad --layer counts --n-top-genes 1200 --n-jobs 4 --resume kept --out tuned
  zinbtools study tuned/tuned.h5ad --layer counts --config tuned --out study

DIR gets tuned.h5ad (the selected counts with the search in uns), trials.csv, summary.csv and tuning.png."""


REPRODUCE_EPILOG = """examples:
  zinbtools reproduce --table 1 --restarts 20 --resume kept --out table1
  zinbtools reproduce --table 2 --dataset zheng_ercc --file zheng_ercc=droplets.h5ad --out table2

DIR gets table.csv (a row per data set, protocol and metric), data.csv (mean dropout and verdict) and
table.txt. Data sets that are neither given nor can be fetched are named and left out."""

_ZARR_METADATA = {".zarray", ".zmetadata", "zarr.json"}


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


def parser() -> argparse.ArgumentParser:
    """Everything that the command line accepts."""
    top = argparse.ArgumentParser(
        prog="zinbtools", description="Should these single-cell counts be zero-inflated?"
    )
    top.add_argument("--version", action="version", version=f"zinbtools {version('zinbtools')}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="verb")
    study_command = commands.add_parser(
        "study",
        help="fit NB and ZINB, compare them on held-out cells, write tables and a report",
        description="Fit NB and ZINB to raw counts, compare them on held-out cells, write a report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data_options(study_command)
    _add_study_options(_add_fit_options(study_command))
    tune_command = commands.add_parser(
        "tune",
        help="search for the settings that suit the data best",
        description="Search for settings of the fit with hyperopt, on validation cells.",
        epilog=TUNE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data_options(tune_command)
    _add_fit_options(tune_command)
    _add_tune_options(tune_command.add_argument_group("search"))
    reproduce_command = commands.add_parser(
        "reproduce",
        help="make the tables of the 2019 study again",
        description="Make Table 1, 2 or 3 of the 2019 study again, beside what it printed.",
        epilog=REPRODUCE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_reproduce_options(reproduce_command.add_argument_group("table"))
    for command in (study_command, tune_command, reproduce_command):
        _add_worker_options(command.add_argument_group("where to run"))
        command.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
        command.add_argument("--quiet", action="store_true", help="print the table and the conclusion only")
    return top


def _add_data_options(command: argparse.ArgumentParser) -> None:
    source = command.add_argument_group("counts").add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", metavar="INPUT", type=Path, help="AnnData file: .h5ad or .zarr")
    source.add_argument("--simulate", choices=["zisynth"], help="simulated counts with known truth instead")
    data = command.add_argument_group("data")
    data.add_argument("--layer", metavar="KEY", help="layer with the raw counts (default: X)")
    data.add_argument("--batch-key", metavar="KEY", help="column of obs with the batch")
    data.add_argument(
        "--min-detection",
        type=float,
        default=0.0,
        metavar="F",
        help="keep genes detected in MORE than this share of the cells (default: 0, every gene ever seen)",
    )
    data.add_argument(
        "--n-top-genes", type=_positive, metavar="N", help="of these keep the N of largest raw-count variance"
    )
    data.add_argument("--lam", type=float, default=0.0, help="decay of the simulated dropout (default: 0)")
    data.add_argument(
        "--n-obs", type=_positive, default=12_000, metavar="N", help="simulated cells (default: 12000)"
    )


def _add_fit_options(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    fit = command.add_argument_group("fit")
    fit.add_argument(
        "--max-epochs", type=_positive, metavar="N", help="epochs at most (default: by data size)"
    )
    fit.add_argument(
        "--protocol", default="default", metavar="NAME", help="preset of the fit (default: default)"
    )
    fit.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything (default: 0)")
    fit.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    return fit


def _add_study_options(fit: argparse._ArgumentGroup) -> None:
    fit.add_argument(
        "--restarts",
        type=_positive_or_auto,
        default="auto",
        metavar="N",
        help="pairs of fits, or auto: 3 to 20, until the answer is clear (default: auto)",
    )
    fit.add_argument("--config", choices=["tuned"], help="what zinbtools tune found for these counts")


def _add_tune_options(search: argparse._ArgumentGroup) -> None:
    search.add_argument(
        "--max-evals", type=_positive, default=100, metavar="N", help="settings to try (default: 100)"
    )
    search.add_argument(
        "--space", default="default", metavar="NAME", help="default, or blog2019: that of the 2019 study"
    )
    search.add_argument("--per-model", action="store_true", help="a setting for each model, not one for both")
    search.add_argument(
        "--max-queue-len",
        type=_positive,
        default=1,
        metavar="N",
        help="settings suggested at a time, 2 N trainings side by side (default: 1)",
    )


def _add_reproduce_options(table: argparse._ArgumentGroup) -> None:
    table.add_argument("--table", type=int, choices=[1, 2, 3], required=True, help="which table")
    table.add_argument(
        "--restarts", type=_positive, default=100, metavar="N", help="fits per model (default: 100)"
    )
    table.add_argument(
        "--protocol", action="append", metavar="NAME", help="blog2019 or default; both, if not given"
    )
    table.add_argument(
        "--dataset", action="append", metavar="NAME", help="a data set, or a lambda; all, if not given"
    )
    table.add_argument(
        "--file", action="append", default=[], type=_named_file, metavar="NAME=PATH", help="where its file is"
    )
    table.add_argument(
        "--params", type=Path, metavar="NPZ", help="mu and sigma of the simulated counts (default: built in)"
    )
    table.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything (default: 0)")
    table.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def _named_file(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"must be NAME=PATH, found {text!r}")
    return name, Path(path)


def _add_worker_options(where: argparse._ArgumentGroup) -> None:
    where.add_argument(
        "--n-jobs",
        type=_positive,
        default=1,
        metavar="N",
        help="worker processes that fits are shared out to (default: 1, none but this one)",
    )
    where.add_argument("--dask", metavar="ADDRESS", help="scheduler of a dask cluster to run on instead")
    where.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="keep every finished fit in DIR; the same command goes on from there after a crash",
    )


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, found {text!r}")
    return number


def _positive_or_auto(text: str) -> int | str:
    return text if text == "auto" else _positive(text)


def study(arguments: argparse.Namespace, *, command: str) -> None:
    """Run ``zinbtools study``: read, select, compare, print, write."""
    _check_input(arguments)

    # Heavy imports come after the cheap mistakes.
    from .study import run_study, staged, write_study

    with staged(arguments.out) as folder, _cluster(arguments.dask) as executor:
        title, adata = _selected(arguments)
        found = run_study(
            adata,
            layer=arguments.layer,
            batch_key=arguments.batch_key,
            protocol=arguments.protocol,
            config=arguments.config,
            n_restarts=arguments.restarts,
            max_epochs=arguments.max_epochs,
            device=arguments.device,
            n_jobs=arguments.n_jobs,
            executor=executor,
            resume=arguments.resume,
            rng=arguments.seed,
            progress=not arguments.quiet,
        )
        _say(arguments, "drawing and writing")
        write_study(found, folder, title=title, command=command)
    print(f"\n{found}")
    _say(arguments, f"\nreport: {arguments.out / 'report.html'}")


def tune(arguments: argparse.Namespace, *, command: str) -> None:
    """Run ``zinbtools tune``: read, select, search, print, write."""
    _check_input(arguments)

    from . import get, pl, tl
    from .study import staged

    with staged(arguments.out) as folder, _cluster(arguments.dask) as executor:
        _, adata = _selected(arguments)
        tl.tune(
            adata,
            max_evals=arguments.max_evals,
            space=arguments.space,
            shared=not arguments.per_model,
            max_queue_len=arguments.max_queue_len,
            layer=arguments.layer,
            batch_key=arguments.batch_key,
            protocol=arguments.protocol,
            max_epochs=arguments.max_epochs,
            device=arguments.device,
            n_jobs=arguments.n_jobs,
            executor=executor,
            resume=arguments.resume,
            rng=arguments.seed,
            progress=not arguments.quiet,
        )
        summary = get.tuning_summary_df(adata)
        get.tuning_df(adata).to_csv(folder / "trials.csv", index=False)
        summary.to_csv(folder / "summary.csv", index=False)
        pl.tuning(adata, show=False, return_fig=True).savefig(folder / "tuning.png", dpi=240)  # type: ignore[union-attr]
        adata.uns["zinbtools"]["tuning"]["params"]["command"] = command
        adata.write_h5ad(folder / "tuned.h5ad")
    print(f"\n{summary.set_index('model').T.to_string(float_format=lambda value: f'{value:.5g}')}")
    _say(arguments, f"\n{arguments.out / 'tuned.h5ad'} goes into zinbtools study --config tuned")


def reproduce(arguments: argparse.Namespace, *, command: str) -> None:
    """Run ``zinbtools reproduce``: simulate or read, compare, print, write."""
    from . import study
    from .study import staged

    with staged(arguments.out) as folder, _cluster(arguments.dask) as executor:
        found = study.reproduce(
            arguments.table,
            n_restarts=arguments.restarts,
            protocols=arguments.protocol or ("blog2019", "default"),
            names=arguments.dataset,
            params=arguments.params,
            files=dict(arguments.file),
            device=arguments.device,
            n_jobs=arguments.n_jobs,
            executor=executor,
            resume=arguments.resume,
            rng=arguments.seed,
            progress=not arguments.quiet,
        )
        found.table.to_csv(folder / "table.csv", index=False)
        found.data.to_csv(folder / "data.csv", index=False)
        (folder / "table.txt").write_text(f"{command}\n\n{found}\n", encoding="utf-8")
    print(f"\n{found}")


def _check_input(arguments: argparse.Namespace) -> None:
    if arguments.input is not None and not arguments.input.exists():
        raise FileNotFoundError(f"there is no file {arguments.input}.")


def _say(arguments: argparse.Namespace, line: str) -> None:
    if not arguments.quiet:
        print(line, flush=True)


def _selected(arguments: argparse.Namespace) -> tuple[str, AnnData]:
    """The counts' title, and what is to be fitted of them."""
    from .study import select

    title, counts = _counts(arguments)
    _say(arguments, f"{title}: {counts.n_obs:,} cells x {counts.n_vars:,} genes")
    adata = select(
        counts,
        layer=arguments.layer,
        min_detection=arguments.min_detection,
        n_top_genes=arguments.n_top_genes,
    )
    n_empty = counts.n_obs - adata.n_obs
    _say(arguments, f"kept {adata.n_vars:,} genes; dropped {n_empty:,} cells without a count of these")
    return title, adata


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


def _counts(arguments: argparse.Namespace) -> tuple[str, AnnData]:
    if arguments.simulate:
        from . import simulate

        adata = simulate.zisynth(lam=arguments.lam, n_obs=arguments.n_obs, rng=arguments.seed)
        return f"ZISynth, lambda = {arguments.lam:g}", adata
    return arguments.input.name, read(arguments.input)


def read(path: Path) -> AnnData:
    """Read an h5ad file or a zarr store.

    Parameters
    ----------
    path
        A path that ends in ``.h5ad`` or ``.zarr``.

    Raises
    ------
    ValueError
        If it ends otherwise or cannot be read.
    """
    import anndata

    readers: dict[str, Any] = {".h5ad": anndata.read_h5ad, ".zarr": anndata.read_zarr}
    if path.suffix not in readers:
        raise ValueError(
            f"{path.name} must end in .h5ad or .zarr; write the counts with adata.write_h5ad first."
        )
    try:
        _refuse_pickles(path)
        adata = readers[path.suffix](path)
        _refuse_broken_matrices(adata)
    except Exception as error:  # readers fail in all manners over a damaged file
        raise ValueError(f"cannot read {path} as {path.suffix[1:]}: {_sentence(error)}") from error
    return adata


def _refuse_pickles(path: Path) -> None:
    """ValueError for a zarr store that asks for a codec which runs what the store holds."""
    for file in path.rglob("*") if path.is_dir() else ():
        if file.name in _ZARR_METADATA and b"pickle" in file.read_bytes():
            raise ValueError(f"{file} asks for pickle, which can run any program; store the data without it.")


def _refuse_broken_matrices(adata: AnnData) -> None:
    """ValueError for sparse matrices that no one may index, wherever they are."""
    from ._stored import refuse_broken

    places: list[Any] = [adata.layers, adata.obsm, adata.varm, adata.obsp, adata.varp]
    matrices = [adata.X, *(matrix for place in places for matrix in place.values())]
    if adata.raw is not None:
        matrices += [adata.raw.X, *adata.raw.varm.values()]
    for matrix in matrices:
        refuse_broken(matrix)


def _sentence(error: Exception) -> str:
    """Return the message on one line; ``str`` would put that of a KeyError in quotes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (line if len(line) <= 500 else f"{line[:499]}…") or type(error).__name__


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"zinbtools: {category.__name__}: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
