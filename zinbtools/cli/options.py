"""The command line's options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

STUDY_EPILOG = """examples:
  zinbtools study counts.h5ad --layer counts --batch-key sample --n-top-genes 1200 --out study
  zinbtools study --simulate zisynth --lam 0 --out study

DIR gets annotated.h5ad (counts and all results; opens in scanpy), report.html (one self-contained page),
differences.csv, rivals.csv, model_selection.csv, metrics.csv, genes.csv, ppc.csv, history.csv and
figures/*.png, all of them once everything is done, and zinbtools_study.json, which lists them. An earlier
study there is replaced as a whole; all other files stay, and one with such a name is refused before the
work begins."""

TUNE_EPILOG = """examples:
  zinbtools tune counts.h5ad --layer counts --n-top-genes 1200 --resume kept --out tuned
  zinbtools study tuned/tuned.h5ad --layer counts --config tuned --out study

DIR gets tuned.h5ad (the selected counts with the search in uns), trials.csv, summary.csv and tuning.png."""


REPRODUCE_EPILOG = """examples:
  zinbtools reproduce --table 1 --restarts 20 --resume kept --out table1
  zinbtools reproduce --table 2 --dataset zheng_ercc --file zheng_ercc=droplets.h5ad --out table2

DIR gets table.csv (a row per data set, protocol and metric), data.csv (mean dropout and verdict) and
table.txt. Data sets that are neither given nor can be fetched are named and left out."""


def parser() -> argparse.ArgumentParser:
    """Build the parser of everything that the command line accepts."""
    top = argparse.ArgumentParser(
        prog="zinbtools", description="Should these single-cell counts be zero-inflated?"
    )
    top.add_argument("--version", action="version", version=f"zinbtools {version('zinbtools')}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="verb")
    study_command = commands.add_parser(
        "study",
        help="fit NB and ZINB, compare them on held-out cells, write tables and a report",
        description="Fit NB and ZINB to raw counts, compare them on held-out cells, write a report.",
        epilog=STUDY_EPILOG,
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
        _add_run_options(command.add_argument_group("how to run"))
        command.add_argument(
            "--out", required=True, type=_folder, metavar="DIR", help="folder for the results"
        )
        command.add_argument("--quiet", action="store_true", help="print the table and the conclusion only")
    return top


def _add_data_options(command: argparse.ArgumentParser) -> None:
    source = command.add_argument_group("counts").add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", metavar="INPUT", type=_path, help="AnnData file: .h5ad or .zarr")
    source.add_argument("--simulate", choices=["zisynth"], help="simulated counts with known truth instead")
    data = command.add_argument_group("data")
    _add(data, "--layer", "KEY", str, "layer with the raw counts (default: X)")
    data.add_argument(
        "--raw", "--use-raw", action="store_true", help="take the raw counts from the file's raw.X"
    )
    data.add_argument(
        "--round", action="store_true", help="round numbers that are not whole, as corrected counts are"
    )
    _add(data, "--batch-key", "KEY", str, "column of obs with the batch")
    detected = "keep genes detected in MORE than this share of the cells (default: 0, every gene ever seen)"
    _add(data, "--min-detection", "F", float, detected, default=0.0)
    _add(data, "--n-top-genes", "N", int, "of these keep the N of largest raw-count variance")
    _add(data, "--lam", "LAM", float, "decay of the simulated dropout (default: 0)", default=0.0)
    _add(data, "--n-obs", "N", int, "simulated cells (default: 12000)", default=12_000)


def _add_fit_options(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    fit = command.add_argument_group("fit")
    _add(fit, "--max-epochs", "N", int, "epochs at most (default: by data size)")
    preset = "preset of the fit: default, or blog2019, that of the 2019 study (default: default)"
    _add(fit, "--protocol", "NAME", Literal["default", "blog2019"], preset, default="default")
    return fit


def _add_study_options(fit: argparse._ArgumentGroup) -> None:
    pairs = "pairs of fits per fold, or auto: until the answer is clear (default: auto)"
    _add(fit, "--restarts", "N", int | Literal["auto"], pairs, of="n_restarts", default="auto")
    folds = "parts of the cells that are tested in turn, or auto: 10, or 1 where that does (default: auto)"
    _add(fit, "--folds", "N", int | Literal["auto"], folds, default="auto")
    used = "cells to use, all, or auto: all up to 20,000, of more 20,000 to 80,000 (default: auto)"
    _add(fit, "--cells", "N", int | Literal["auto", "all"], used, default="auto")
    kinds = "what the counts are: molecules, reads, or auto: what they look like (default: auto)"
    _add(fit, "--counts", "KIND", Literal["auto", "molecules", "reads"], kinds, default="auto")
    fit.add_argument("--config", choices=["tuned"], help="what zinbtools tune found for these counts")


def _add_tune_options(search: argparse._ArgumentGroup) -> None:
    _add(search, "--max-evals", "N", int, "settings to try (default: 100)", default=100)
    spaces = "default, or blog2019: that of the 2019 study"
    _add(search, "--space", "NAME", Literal["default", "blog2019"], spaces, default="default")
    search.add_argument("--per-model", action="store_true", help="a setting for each model, not one for both")
    at_a_time = "settings suggested at a time, 2 N trainings side by side (default: 1)"
    _add(search, "--max-queue-len", "N", int, at_a_time, default=1)


def _add_reproduce_options(table: argparse._ArgumentGroup) -> None:
    table.add_argument("--table", type=int, choices=[1, 2, 3], required=True, help="which table")
    _add(table, "--restarts", "N", int, "fits per model (default: 100)", of="n_restarts", default=100)
    tries = "settings to try for each model under protocol blog2019; 0: the defaults (default: 100)"
    _add(table, "--max-evals", "N", int, tries, of="reproduce.max_evals", default=100)
    table.add_argument(
        "--protocol",
        action="append",
        type=_of(Literal["blog2019", "default"], "protocol"),
        metavar="NAME",
        help="blog2019 or default; both, if not given",
    )
    table.add_argument(
        "--dataset", action="append", metavar="NAME", help="a data set, or a lambda; all, if not given"
    )
    table.add_argument(
        "--file", action="append", default=[], type=_named_file, metavar="NAME=PATH", help="where its file is"
    )
    table.add_argument(
        "--params", type=_path, metavar="NPZ", help="mu and sigma of the simulated counts (default: built in)"
    )


def _named_file(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"must be NAME=PATH, found {text!r}")
    return name, Path(path)


def _add_run_options(run: argparse._ArgumentGroup) -> None:
    _add(run, "--seed", "N", int, "seed of everything (default: 0)", of="rng", default=0)
    _add(run, "--device", "DEVICE", str, "auto, cpu or cuda (default: auto)", default="auto")
    side_by_side = "fits that train side by side, in threads (default: auto, as many as there are cores)"
    _add(run, "--n-jobs", "N", int | Literal["auto"], side_by_side, default="auto")
    run.add_argument("--processes", action="store_true", help="worker processes in the place of threads")
    run.add_argument("--dask", metavar="ADDRESS", help="scheduler of a dask cluster to run on instead")
    run.add_argument(
        "--resume",
        type=_folder,
        metavar="DIR",
        help="keep every finished fit in DIR; the same command goes on from there after a crash",
    )


def _add(
    group: argparse._ArgumentGroup,
    option: str,
    metavar: str,
    annotation: Any,
    text: str,
    *,
    of: str = "",
    default: object = None,
) -> None:
    """Add an option that is read by the rule of the argument of its name, or of the one that it is ``of``."""
    argument = of or option.strip("-").replace("-", "_")
    group.add_argument(option, metavar=metavar, type=_of(annotation, argument), default=default, help=text)


def _of(annotation: Any, argument: str) -> Callable[[str], Any]:
    """What reads a word of the command line as the value of an argument, by the rule of that argument."""

    def read(text: str) -> Any:
        from .._check.arguments import rule  # which needs numpy: --help is quicker without

        function, _, name = argument.rpartition(".")
        known = rule(annotation, name, function)
        try:
            value = known.parse(in_utf8(text))
        except ValueError:
            value = None
        if value is None or not known.accepts(value):
            raise argparse.ArgumentTypeError(f"must be {known}, found {text!r}")
        return value

    return read


def in_utf8(text: str) -> str:
    r"""Decode what was typed as UTF-8, even where LC_ALL=C tells Python that it is ASCII.

    Examples
    --------
    >>> in_utf8("caf\udcc3\udca9") == "caf\u00e9"
    True
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _folder(text: str) -> Path:
    if not text:  # a variable of the shell that is not set; Path("") would be the current folder
        raise argparse.ArgumentTypeError("must be a folder, found no name; give . for the current one")
    return _path(text)


def _path(text: str) -> Path:
    _of(str, "path")(text)
    return Path(text)  # as the system wrote it
