"""Studies of many data sets, and what they say together."""

from __future__ import annotations

import csv
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .._words.sentence import sentence
from ._hints import in_shell
from ._told import is_told
from .options import OF_A_SET, OF_A_STUDY, in_utf8, of_a_set

if TYPE_CHECKING:
    import pandas as pd


def studies_folder(arguments: Namespace) -> Path:
    """Where the studies go, each into a folder with the name of its data set."""
    return Path(arguments.out, "studies")


def data_sets(arguments: Namespace) -> dict[str, Namespace]:
    """Give the arguments of ``zinbtools study`` for each data set, by its name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If there is one data set, the table has no column ``file``, or a name is missing, taken, or cannot be
        that of a folder.
    KeyError
        If studies will have no column that they are to be grouped or explained by.
    """
    _refuse_unknown_columns(arguments)
    found: dict[str, Namespace] = {}
    for name, path, options in _given(arguments):
        if name in found:
            raise ValueError(
                f"two data sets are called {name!r}; tell them apart in column 'study' of --sets."
            )
        if name != Path(name).name or name.startswith("."):
            raise ValueError(f"{name!r} cannot be the name of a data set: it is that of a folder too.")
        if not path.exists():
            raise FileNotFoundError(f"there is no file {path}.")
        own = Namespace(**{**vars(arguments), **of_a_set(path, options)})
        own.input, own.title, own.verb = path, name, "study"
        own.out = studies_folder(arguments) / name
        own.resume = Path(arguments.resume, name) if arguments.resume else None
        found[name] = own
    if len(found) < 2:
        raise ValueError("one data set is no atlas, two are needed; zinbtools study is for one.")
    return found


def _refuse_unknown_columns(arguments: Namespace) -> None:
    told = [
        *OF_A_STUDY,
        *(name for row in _rows(arguments)[:1] for name in row if name not in ("study", "file")),
    ]
    for name in [*([arguments.by] if arguments.by else []), *(arguments.moderators or [])]:
        if name not in told:
            raise KeyError(f"there is no column {name!r} of studies; there are {', '.join(told)}.")


def _given(arguments: Namespace) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """Yield name, file and options of each data set."""
    for path in arguments.files:
        yield in_utf8(path.name).partition(".")[0], path, {}
    for row in _rows(arguments):
        options = {name: row[name] for name in OF_A_SET if row.get(name)}
        yield row["study"], Path(arguments.sets.parent, row["file"]), options


def _rows(arguments: Namespace) -> list[dict[str, str]]:
    if arguments.sets is None:
        return []
    try:
        with arguments.sets.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{arguments.sets} is not a table in UTF-8 with commas: {error}.") from error
    for column in ("study", "file"):
        if not rows or any(not row.get(column) for row in rows):
            raise ValueError(f"{arguments.sets} needs a column {column!r} with a word for each data set.")
    return rows


def about(arguments: Namespace) -> pd.DataFrame | None:
    """What the table says of data sets beside how to read them; None without one."""
    import pandas as pd

    if arguments.sets is None:
        return None
    table = pd.read_csv(arguments.sets, index_col="study", dtype={"study": str})
    return table.drop(columns=["file", *OF_A_SET], errors="ignore")


def made(arguments: Namespace, *, command: str) -> tuple[list[Path], Mapping[str, str]]:
    """Make the study of each data set in its folder; those folders, and why others are not there.

    A study of which a part could not be written is taken for what it has.
    """
    from ..study import Incomplete, staged
    from .verbs import say, study

    done, left_out = [], {}
    sets = data_sets(arguments)
    for number, (name, own) in enumerate(sets.items(), 1):
        say(arguments, f"\n{number} of {len(sets)}: {name}")
        try:
            with staged(own.out, title=name, say=lambda line: say(arguments, line)) as folder:
                found = study(own, command=command)
                found.write(folder)
        except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
            if not isinstance(error, RuntimeError) and not is_told(error):
                raise
            reason = in_shell(sentence(error))
            if isinstance(error, Incomplete) and (own.out / "summary.json").exists():
                print(f"zinbtools: of {name} something is missing: {reason}", file=sys.stderr)
                done.append(own.out)
            else:
                print(f"zinbtools: left out {name}: {reason}", file=sys.stderr)
                left_out[name] = reason
        else:
            say(arguments, f"\n{found.text}")
            done.append(own.out)
    return done, left_out
