"""What the counts of a study were read from, so that others can tell whether they have the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ._formats import files_of


@dataclass(frozen=True)
class Source:
    """A file, or several that are read as one.

    Attributes
    ----------
    name
        Of the file or folder, without where it is.
    n_files, n_bytes
        How many files are read, and their size in all.
    sha256
        Of the file, as ``sha256sum`` gives it. Of several, that of the lines which ``sha256sum`` writes of
        them from within their folder, sorted by name.
    """

    name: str
    n_files: int
    n_bytes: int
    sha256: str

    def __str__(self) -> str:
        files = "" if self.n_files == 1 else f"{self.n_files:,} files, "
        return f"{self.name} ({files}{self.n_bytes:,} bytes)"


def source_of(path: Path) -> Source:
    """Tell the size and the hash of what :func:`zinbtools.study.read` reads of a path.

    Each file is read once more, a piece at a time.

    Parameters
    ----------
    path
        What was given to :func:`zinbtools.study.read`.

    Raises
    ------
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "counts.csv").write_text("abc")
    ...     found = source_of(Path(folder, "counts.csv"))
    >>> str(found), found.sha256[:8]
    ('counts.csv (3 bytes)', 'ba7816bf')
    """
    files = files_of(path)
    digests = {file: _sha256(file) for file in files}
    if files == [path]:
        whole = digests[path]
    else:
        within = path if path.is_dir() else path.parent
        named = sorted((file.relative_to(within).as_posix(), digest) for file, digest in digests.items())
        lines = "".join(f"{digest}  {name}\n" for name, digest in named)
        whole = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    n_bytes = sum(file.stat().st_size for file in files)
    return Source(path.name or path.resolve().name, len(files), n_bytes, whole)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
