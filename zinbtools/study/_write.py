"""Putting a study on disk, all of it or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .. import get
from ._csv import write_csv
from ._figures import pictures
from ._h5ad import write_h5ad
from ._publish import publish
from ._report import report_html

if TYPE_CHECKING:
    from ._pipeline import Study


@contextmanager
def staged(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside ``out`` whose files move into ``out`` when the block ends well.

    On Linux they all come in one step, so that ``out`` is the old or the new one at any moment; on other
    systems each file is moved by one rename. If the block fails or is interrupted, the folder is removed
    and ``out`` is as it was.

    Parameters
    ----------
    out
        The folder to fill; made where it is absent. Files of other names in it are left alone.

    Raises
    ------
    NotADirectoryError
        If ``out`` is a file.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as home:
    ...     with staged(Path(home, "study")) as folder:
    ...         _ = Path(folder, "a.csv").write_text("1")
    ...     sorted(p.name for p in Path(home).rglob("*"))
    ['a.csv', 'study']
    """
    target = Path(out).absolute()
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{out} is a file; give a folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield folder
        publish(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=not folder.exists())


def write_study(study: Study, folder: Path, *, title: str, command: str | None = None) -> None:
    """Write the annotated h5ad, the tables, the figures and the report.

    Parameters
    ----------
    study
        What :func:`run_study` gave.
    folder
        An existing folder, such as the one that :func:`staged` gives.
    title
        What the counts are called in the report.
    command
        The command line that made the study, for the report.
    """
    adata, key = study.adata, study.key
    drawn = list(pictures(adata, key))
    (folder / "figures").mkdir()
    for picture in drawn:
        (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)
    write_csv(get.metrics_df(adata, key=key), folder / "metrics.csv")
    write_csv(get.zi_genes_df(adata, key=key), folder / "genes.csv", index=True)
    write_csv(get.ppc_df(adata, key=key), folder / "ppc.csv")
    write_csv(get.verdict(adata, key=key).differences, folder / "differences.csv")
    write_csv(get.model_selection_df(adata, key=key), folder / "model_selection.csv")
    write_csv(get.history_df(adata, key=key), folder / "history.csv")
    page = report_html(study, drawn, title=title, command=command)
    (folder / "report.html").write_text(page, encoding="utf-8")
    write_h5ad(adata, folder / "annotated.h5ad")
