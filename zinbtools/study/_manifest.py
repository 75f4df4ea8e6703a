"""List the files that a command may write into a folder, and those that one has written."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from .._files.leftovers import whole_file

VERSION = version("zinbtools")  # read while the package is, whatever its owner becomes later

FILES: dict[str, tuple[str, ...]] = {
    "study": (
        "report.html",
        "summary.json",
        "differences.csv",
        "rivals.csv",
        "model_selection.csv",
        "metrics.csv",
        "genes.csv",
        "ppc.csv",
        "history.csv",
        "annotated.h5ad",
        "figures/verdict.png",
        "figures/model_selection.png",
        "figures/dropout.png",
        "figures/ppc_dropout_ratio.png",
        "figures/ppc_zeros_to_expression.png",
        "figures/ppc_cv.png",
        "figures/zi_scores.png",
        "figures/zero_causes.png",
        "figures/consequences.png",
        "figures/zero_study.png",
        "figures/history.png",
    ),
    "genes": ("genes.csv",),
    "reads": ("reads.csv", "cells.csv"),
    "tune": ("tuned.h5ad", "trials.csv", "summary.csv", "tuning.png"),
    "meta": ("report.html", "meta.csv", "studies.csv", "genes.csv", "moderators.csv", "forest.png"),
    "reproduce": ("table.csv", "data.csv", "table.txt"),
}
FILES["evaluate"] = FILES["study"]
FILES["atlas"] = FILES["meta"]


@dataclass(frozen=True)
class Manifest:
    """What a command wrote into a folder, in a file ``zinbtools_VERB.json`` there.

    Attributes
    ----------
    verb
        Which command.
    title
        What its input is called.
    date
        When it was done, as YYYY-MM-DD.
    version
        Of zinbtools.
    files
        Paths in the folder, with ``/``, and the SHA-256 of what was written there.
    """

    verb: str
    title: str
    date: str
    version: str
    files: dict[str, str]

    def __str__(self) -> str:
        what = {
            "study": "study of",
            "genes": "gene test of",
            "evaluate": "evaluation of models of",
            "reads": "estimate of reads of",
            "tune": "search for",
            "meta": "summary of",
            "atlas": "atlas of",
            "reproduce": "reproduction of",
        }[self.verb]
        return f"the {what} {self.title} of {self.date}"

    @classmethod
    def of(cls, folder: Path, *, verb: str, title: str) -> Manifest:
        """List all that lies in a folder."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): digest(path) for path in paths}
        return cls(verb, title, date.today().isoformat(), VERSION, files)

    @classmethod
    def read(cls, folder: Path, verb: str) -> Manifest | None:
        """Read that of an earlier run, or None.

        Raises
        ------
        ValueError
            If the file is there and is none of ours.
        """
        path = folder / manifest_name(verb)
        if not os.path.lexists(path):
            return None
        try:
            found = cls(**json.loads(path.read_text("utf-8")))
            if found.verb != verb or not all(_is_plain(name) for name in found.files):
                raise ValueError("other fields are needed")
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"--out: {path} is no list of files that zinbtools wrote ({error}); move it away, or give "
                "another folder."
            ) from error
        return found

    def write(self, folder: Path) -> None:
        """Store it, whole or not at all."""
        with whole_file(folder / manifest_name(self.verb)) as file:
            file.write(json.dumps(asdict(self), indent=1).encode())

    def wrote(self, folder: Path, name: str) -> bool:
        """Tell whether this file of the folder is as it was written."""
        path = folder / name
        return not path.is_symlink() and path.is_file() and self.files.get(name) == digest(path)


def manifest_name(verb: str) -> str:
    """Return the name of the file that holds the manifest.

    Examples
    --------
    >>> manifest_name("study")
    'zinbtools_study.json'
    """
    return f"zinbtools_{verb}.json"


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, at one to two GB a second."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_plain(name: str) -> bool:
    """Tell whether a name stays inside of the folder: a manifest may come from anyone."""
    return not {"", ".", ".."} & set(name.split("/")) and not set(name) & {"\\", ":", "\0"}
