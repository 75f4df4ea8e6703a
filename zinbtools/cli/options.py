"""The command line's options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

INPUT = """INPUT is a file with raw counts: .h5ad, .zarr, .h5 of Cell Ranger, .loom, .h5mu (with --modality,
if it has several), or a table of cells by genes (.csv, .tsv, .txt), each but .zarr with .gz too; or a folder
with matrix.mtx, features.tsv or genes.tsv, and barcodes.tsv, packed or not."""

STUDY_EPILOG = f"""examples:
  zinbtools study counts.h5ad --layer counts --batch-key sample --n-top-genes 1200 --out study
  zinbtools study filtered_feature_bc_matrix.h5 --var-names-make-unique --n-top-genes 2000 --out study
  zinbtools study --simulate zisynth --lam 0 --out study

{INPUT}

DIR gets annotated.h5ad (counts and results; opens in scanpy), report.html (one self-contained page),
summary.json (the same for programs), differences.csv, rivals.csv, model_selection.csv, metrics.csv,
genes.csv, ppc.csv, history.csv and figures/*.png, all of them once everything is done, and
zinbtools_study.json, which lists them. An earlier study there is replaced as a whole; all other files stay,
and one with such a name is refused before the work begins."""

TUNE_EPILOG = f"""examples:
  zinbtools tune counts.h5ad --layer counts --n-top-genes 1200 --resume kept --out tuned
  zinbtools study tuned/tuned.h5ad --layer counts --config tuned --out study

{INPUT}

DIR gets tuned.h5ad (the selected counts with the search in uns), trials.csv, summary.csv and tuning.png."""

GENES_EPILOG = f"""examples:
  zinbtools genes counts.h5ad --layer counts --batch-key sample --n-top-genes 2000 --out genes

{INPUT}

DIR gets genes.csv: of each gene the call (zero-inflated, negligible or undecided), its dropout probability
with an interval, p values, zeros and power, and its class: the cause of its zeros (none, dispersion,
covariate, amplification, bursting, dropout, or cannot tell). Call and cause are those of a study."""

READS_EPILOG = f"""examples:
  zinbtools reads reads.h5ad --batch-key plate --out reads

{INPUT}

DIR gets reads.csv, a row per batch, and cells.csv, a row per cell. Genes are chosen best by not choosing any:
the more there are, the better."""

EVALUATE_EPILOG = f"""examples:
  zinbtools evaluate counts.h5ad --scvi model_nb --scvi model_zinb --out evaluation
  zinbtools evaluate counts.h5ad --scvi model --out evaluation

{INPUT}

It has the cells that the models were trained on, in that order, and their genes, others too; or any cells, if
the models were saved with their own (save_anndata=True). Layer and columns are those that the models were
set up with.

A pair, an NB and a ZINB, is judged as it is, on cells that neither was trained on: set scvi.settings.seed
before each training, so that these are the same. Of one model the likelihood and the predictive checks are
told, and pairs with its architecture are trained and compared, as by zinbtools study. DIR gets the files
of a study.

A saved model is a pickle, which can run programs: open only those that you trust."""

META_EPILOG = """examples:
  zinbtools meta study1 study2 study3 --out family
  zinbtools meta studies/*/summary.json --about studies.csv --by protocol --out family

Each STUDY is the folder of a study, or its summary.json. Studies are taken to be independent: two analyses of
the same cells are not.

DIR gets report.html, meta.csv, a row per measure and group, studies.csv, a row per study, genes.csv, in how
many studies each gene is zero-inflated, forest.png, and moderators.csv where they are asked for."""

# Columns of --sets that are options of one data set.
OF_A_SET = ("layer", "modality", "batch_key", "groupby", "counts", "n_top_genes", "min_detection")

# What is told of every study, to group and explain them by.
OF_A_STUDY = ("counts", "verdict", "explained_by", "n_cells", "n_genes", "excess_zeros", "calls_per_thousand")

ATLAS_EPILOG = f"""examples:
  zinbtools atlas a.h5ad b.h5ad c.h5ad --n-top-genes 1000 --out atlas
  zinbtools atlas --sets sets.csv --by protocol --resume kept --out atlas

{INPUT}

CSV has a row for each data set: its name in column study; its file, from the folder of the table, in column
file; in columns {", ".join(OF_A_SET)}
what is to be said of it alone, where there is something; and other columns, for --by and --moderators.

DIR/studies/NAME gets the files of each study as soon as it is done, and DIR those of zinbtools meta. A data
set that cannot be read or fitted is named and left out."""

REPRODUCE_EPILOG = """examples:
  zinbtools reproduce --table 1 --restarts 20 --resume kept --out table1
  zinbtools reproduce --all --resume kept --file cortex=cortex.h5ad --out tables
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

    def command(verb: str, does: str, description: str, epilog: str) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter
        return commands.add_parser(
            verb, help=does, description=description, epilog=epilog, formatter_class=raw
        )

    study = command(
        "study",
        "fit NB and ZINB, compare them on held-out cells, write tables and a report",
        "Fit NB and ZINB to raw counts, compare them on held-out cells, write a report.",
        STUDY_EPILOG,
    )
    _add_data_options(study)
    _add_covariates(study)
    _add_study_options(_add_fit_options(study))
    genes = command(
        "genes",
        "say which genes are zero-inflated and why, without the comparison of the models",
        "Fit the NB, test each gene for a dropout beside it, given the state of the cells, and say why.",
        GENES_EPILOG,
    )
    _add_data_options(genes)
    _add_covariates(genes)
    _add_gene_options(_add_fit_options(genes))
    reads = command(
        "reads",
        "say how often each molecule was read, from counts of reads",
        "Estimate how often each molecule was read, and how many molecules each cell has.",
        READS_EPILOG,
    )
    _add_data_options(reads, simulated=False)
    reads.set_defaults(resume=None)  # it takes seconds
    evaluate = command(
        "evaluate",
        "judge models that scvi-tools trained and saved",
        "Judge an NB and a ZINB of scvi-tools, or check one, on cells that they were not trained on.",
        EVALUATE_EPILOG,
    )
    _add_file_options(evaluate, evaluate.add_argument_group("counts"))
    _add_evaluate_options(evaluate.add_argument_group("models"))
    tune = command(
        "tune",
        "search for the settings that suit the data best",
        "Search for settings of the fit with hyperopt, on validation cells.",
        TUNE_EPILOG,
    )
    _add_data_options(tune)
    _add_covariates(tune)
    _add_fit_options(tune)
    _add_tune_options(tune.add_argument_group("search"))
    meta = command(
        "meta",
        "summarise many studies: the mean, how they differ, what the next will show",
        "Summarise what many studies found by a random-effects model.",
        META_EPILOG,
    )
    meta.add_argument("studies", nargs="+", type=Path, metavar="STUDY", help="folder of a study")
    _add_meta_options(meta)
    meta.add_argument(
        "--about", type=Path, metavar="CSV", help="table about the studies, whose first column names them"
    )
    meta.set_defaults(resume=None)  # it takes seconds
    atlas = command(
        "atlas",
        "make the studies of many data sets, and summarise them",
        "Make the study of each data set, then summarise what they found, as meta does.",
        ATLAS_EPILOG,
    )
    sets = atlas.add_argument_group("data sets").add_mutually_exclusive_group(required=True)
    sets.add_argument("files", nargs="*", default=[], type=_path, metavar="INPUT", help="files or folders")
    sets.add_argument("--sets", type=_path, metavar="CSV", help="table with a row for each, see below")
    _add_meta_options(atlas)
    _add_selection(_add_reading(atlas))
    _add_covariates(atlas)
    _add_study_options(_add_fit_options(atlas))
    reproduce = command(
        "reproduce",
        "make the tables of the 2019 study again",
        "Make Table 1, 2 or 3 of the 2019 study again, or all three, beside what it printed.",
        REPRODUCE_EPILOG,
    )
    _add_reproduce_options(reproduce.add_argument_group("table"))
    for each in (study, genes, evaluate, tune, atlas, reproduce):
        _add_run_options(each.add_argument_group("how to run"))
    for each in (study, evaluate, atlas):
        _add_file_contents(each.add_argument_group("what to write"))
    for each in (study, genes, reads, evaluate, tune, meta, atlas, reproduce):
        each.add_argument("--out", required=True, type=_folder, metavar="DIR", help="folder for the results")
        each.add_argument("--quiet", action="store_true", help="print the table and the conclusion only")
    return top


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Read a command line; where options do not go together, end as argparse does."""
    top = parser()
    arguments = top.parse_args(words)
    if clash := _clash(arguments):
        top.error(clash)
    if "lam" in arguments:
        arguments.lam = 0.0 if arguments.lam is None else arguments.lam
        arguments.n_obs = 12_000 if arguments.n_obs is None else arguments.n_obs
    return arguments


def of_a_set(path: Path, options: Mapping[str, str]) -> dict[str, Any]:
    """Read the options of one data set by the rules of ``zinbtools study``."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    found = vars(parser().parse_args(["study", str(path), *words, "--out", "."]))
    return {name: found[name] for name in options}


def _clash(arguments: argparse.Namespace) -> str:
    """Say which options do not go together."""
    given = vars(arguments)
    if given.get("input") is not None:
        for name in ("lam", "n_obs"):
            if given.get(name) is not None:
                return f"{_option(name)} is of simulated counts, and does not go with a file"
    elif "input" in given and (given.get("modality") or given.get("transpose")):
        return f"{'--modality' if given['modality'] else '--transpose'} is of files, and goes with INPUT"
    if given.get("raw") and given.get("layer") is not None:
        return "give one of --raw and --layer"
    if len(given.get("scvi", ())) > 2:
        return "--scvi goes with one model, or with an NB and a ZINB"
    if given.get("test_share") is not None:
        if given["folds"] not in ("auto", 1):
            return "--test-share is of one split, and goes with --folds 1 or auto"
        if given["config"] is not None:
            return "--test-share does not go with --config tuned, which keeps the cells of the search apart"
    return ""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _add_file_options(
    command: argparse.ArgumentParser, source: argparse._ActionsContainer, **optional: Any
) -> argparse._ArgumentGroup:
    source.add_argument("input", metavar="INPUT", type=_path, help="file or folder, see below", **optional)
    return _add_reading(command)


def _add_reading(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    data = command.add_argument_group("data")
    _add(data, "--modality", "NAME", str, "which modality of an .h5mu file")
    data.add_argument(
        "--transpose", action="store_true", help="the rows of a table are genes, and its columns cells"
    )
    data.add_argument(
        "--raw", "--use-raw", action="store_true", help="take the raw counts from the file's raw.X"
    )
    data.add_argument(
        "--var-names-make-unique",
        action="store_true",
        help="tell genes of the same name apart by -1, -2, ... at the end",
    )
    return data


def _add_data_options(command: argparse.ArgumentParser, *, simulated: bool = True) -> None:
    counts = command.add_argument_group("counts")
    source = counts.add_mutually_exclusive_group(required=True) if simulated else counts
    optional: dict[str, Any] = {"nargs": "?"} if simulated else {}
    data = _add_file_options(command, source, **optional)
    if simulated:
        source.add_argument("--simulate", choices=["zisynth"], help="counts with known truth instead")
        _add(counts, "--lam", "LAM", float, "decay of the simulated dropout (default: 0)")
        _add(counts, "--n-obs", "N", int, "simulated cells (default: 12000)")
    _add_selection(data)


def _add_selection(data: argparse._ArgumentGroup) -> None:
    _add(data, "--layer", "KEY", str, "layer with the raw counts (default: X)")
    data.add_argument(
        "--round", action="store_true", help="round numbers that are not whole, as corrected counts are"
    )
    detected = "keep genes detected in MORE than this share of the cells (default: 0, every gene ever seen)"
    _add(data, "--min-detection", "F", float, detected, default=0.0)
    _add(data, "--n-top-genes", "N", int, "of these keep the N of largest raw-count variance")
    _add(data, "--batch-key", "KEY", str, "column of obs with the batch")


def _add_covariates(command: argparse.ArgumentParser) -> None:
    known = command.add_argument_group("what else the models are told of cells")
    for kind in ("categorical", "continuous"):
        what = "categories" if kind == "categorical" else "numbers"
        known.add_argument(
            f"--{kind}-covariates",
            default=[],
            type=_keys(f"{kind}_covariate_keys"),
            metavar="KEY,...",
            help=f"columns of obs with {what}, parted by commas",
        )


def _add_fit_options(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    fit = command.add_argument_group("fit")
    _add(fit, "--max-epochs", "N", int, "epochs at most (default: by data size)")
    preset = "preset of the fit; blog2019 is that of the 2019 study (default: default)"
    _add(fit, "--protocol", "", Literal["default", "blog2019"], preset, default="default")
    return fit


def _add_study_options(fit: argparse._ArgumentGroup) -> None:
    pairs = "pairs of fits per fold, or auto: until the answer is clear (default: auto)"
    _add(fit, "--restarts", "N", int | Literal["auto"], pairs, of="n_restarts", default="auto")
    folds = "parts of the cells that are tested in turn, or auto: 10, or 1 where that does (default: auto)"
    _add(fit, "--folds", "N", int | Literal["auto"], folds, default="auto")
    used = "cells to use, all, or auto: all up to 20,000, of more 20,000 to 80,000 (default: auto)"
    _add(fit, "--cells", "N", int | Literal["auto", "all"], used, default="auto")
    share = "share of the cells that are tested, on one split (default: all in turn, or 0.1, see --folds)"
    _add(fit, "--test-share", "F", float, share)
    groups = "column of obs with cell types, say: compare within each group too, by models of its own"
    _add(fit, "--groupby", "KEY", str, groups)
    _add_judgement(fit)
    fit.add_argument("--config", choices=["tuned"], help="what zinbtools tune found for these counts")


def _add_evaluate_options(models: argparse._ArgumentGroup) -> None:
    models.add_argument(
        "--scvi",
        action="append",
        required=True,
        type=_folder,
        metavar="MODEL",
        help="folder that SCVI.save made; give it twice for an NB and a ZINB",
    )
    _add_judgement(models)


def _add_judgement(group: argparse._ArgumentGroup) -> None:
    draws = "importance samples per cell, and draws of the predictive checks (default: 100)"
    _add(group, "--n-samples", "N", int, draws, default=100)
    kinds = "what the counts are, or auto: what they look like (default: auto)"
    _add(group, "--counts", "", Literal["auto", "molecules", "reads"], kinds, default="auto")
    region = "half-width of what makes no practical difference, nats per cell (default: NLL / 1000)"
    _add(group, "--rope", "F", float, region)
    level = "level of the tests; the interval is of level 1 - F (default: 0.05)"
    _add(group, "--alpha", "F", float, level, default=0.05)


def _add_gene_options(fit: argparse._ArgumentGroup) -> None:
    kinds = "what the counts are, or auto: what they look like (default: auto)"
    _add(fit, "--counts", "", Literal["auto", "molecules", "reads"], kinds, default="auto")
    _add(fit, "--alpha", "F", float, "false discovery rate of the calls (default: 0.05)", default=0.05)
    none = "dropout probability up to which there is none to speak of (default: 0.01)"
    _add(fit, "--negligible-dropout", "F", float, none, default=0.01)
    least = "smallest dropout probability of interest, for which a test has power or not (default: 0.1)"
    _add(fit, "--smallest-dropout", "F", float, least, default=0.1)


def _add_tune_options(search: argparse._ArgumentGroup) -> None:
    _add(search, "--max-evals", "N", int, "settings to try (default: 100)", default=100)
    spaces = "settings to search; blog2019 is the space of the 2019 study (default: default)"
    _add(search, "--space", "", Literal["default", "blog2019"], spaces, default="default")
    search.add_argument("--per-model", action="store_true", help="a setting for each model, not one for both")
    at_a_time = "settings suggested at a time, 2 N trainings side by side (default: 1)"
    _add(search, "--max-queue-len", "N", int, at_a_time, default=1)


def _add_meta_options(meta: argparse._ActionsContainer) -> None:
    meta.add_argument(
        "--by", metavar="COLUMN", help="summarise groups too: counts, verdict, or what else is known of them"
    )
    meta.add_argument(
        "--moderators",
        type=_keys("moderators"),
        metavar="COLUMN,...",
        help="what may tell why studies differ, parted by commas: n_cells, counts, or what else is known",
    )


def _add_reproduce_options(table: argparse._ArgumentGroup) -> None:
    which = table.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", type=int, choices=[1, 2, 3], help="which table")
    which.add_argument("--all", dest="table", action="store_const", const="all", help="the three tables")
    _add(table, "--restarts", "N", int, "fits per model (default: 100)", of="n_restarts", default=100)
    tries = "settings to try for each model under protocol blog2019; 0: the defaults (default: 100)"
    _add(table, "--max-evals", "N", int, tries, of="reproduce.max_evals", default=100)
    table.add_argument(
        "--protocol",
        action="append",
        type=_of(Literal["blog2019", "default"], "protocol"),
        metavar="{blog2019,default}",
        help="which protocol; both, if not given",
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


def _add_file_contents(files: argparse._ArgumentGroup) -> None:
    files.add_argument(
        "--layers",
        action="store_true",
        help="means and dropout probabilities of all cells and genes too, as layers of annotated.h5ad, which "
        "make it several times larger",
    )


def _add_run_options(run: argparse._ArgumentGroup) -> None:
    _add(run, "--seed", "N", int, "seed of everything (default: 0)", of="rng", default=0)
    _add(run, "--device", "auto|cpu|cuda|cuda:N", str, "where torch computes (default: auto)", default="auto")
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
    read = _of(annotation, argument)
    group.add_argument(option, metavar=_shown(metavar, annotation), type=read, default=default, help=text)


def _shown(metavar: str, annotation: Any) -> str:
    """Write what an option takes, with the words that it may be.

    Examples
    --------
    >>> _shown("N", int | Literal["auto"]), _shown("", Literal["auto", "reads"])
    ('N|auto', '{auto,reads}')
    """
    if get_origin(annotation) is Literal:
        return f"{{{','.join(get_args(annotation))}}}"
    words = [word for part in get_args(annotation) for word in get_args(part)]
    return "|".join([metavar, *words])


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


def _keys(argument: str) -> Callable[[str], list[str]]:
    read = _of(str, argument)
    return lambda text: [read(key) for key in text.split(",")]


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
