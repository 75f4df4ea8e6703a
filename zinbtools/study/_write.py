"""The files of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anndata import AnnData

from .. import get, pl
from .._anndata.reading import layer_names
from .._record.keys import Keys
from .._record.parts import TUNING
from .._record.record import Record
from .._words.sentence import sentence
from ._csv import write_csv
from ._figures import Picture, as_png, pictures
from ._h5ad import write_h5ad
from ._machine import summary_json
from ._publish import Incomplete
from ._report import report_html

if TYPE_CHECKING:
    from ._pipeline import Study
    from ._source import Source


def write_study(
    study: Study,
    folder: Path,
    *,
    title: str,
    command: str | None = None,
    source: Source | None = None,
    layers: bool = False,
) -> None:
    """Write the tables, the figures, the report, its summary for programs and the annotated h5ad.

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
    source
        What the counts were read from, as :func:`source_of` tells it, for the report and its summary.
    layers
        Write the dense layers of the fit too. Without them the file is several times smaller, and
        :func:`zinbtools.tl.embed` computes them again.

    Raises
    ------
    Incomplete
        If something could not be drawn or written, when all the rest has been.
    """
    adata, key = study.adata, study.key
    with parts(folder) as part:
        with part("metrics.csv") as path:
            write_csv(get.metrics_df(adata, key=key), path)
        with part("genes.csv") as path:
            write_csv(get.zi_genes_df(adata, key=key), path, index=True)
        with part("ppc.csv") as path:
            write_csv(get.ppc_df(adata, key=key), path)
        with part("differences.csv") as path:
            write_csv(get.verdict(adata, key=key).differences, path)
        with part("rivals.csv") as path:
            write_csv(get.rivals_df(adata, key=key), path)
        with part("model_selection.csv") as path:
            write_csv(get.model_selection_df(adata, key=key), path)
        with part("history.csv") as path:
            write_csv(get.history_df(adata, key=key), path)
        drawn: list[Picture] = []
        with part("figures") as path:
            path.mkdir()
            for picture in pictures(adata, key):
                drawn.append(picture)
                (path / f"{picture.name}.png").write_bytes(picture.png)
        with part("report.html") as path:
            report = report_html(study, drawn, title=title, command=command, source=source)
            path.write_text(report, encoding="utf-8")
        with part("summary.json") as path:
            path.write_text(summary_json(study, title=title, source=source), encoding="utf-8")
        with part("annotated.h5ad") as path:
            write_h5ad(adata if layers else _without_layers(adata, key), path)


def _without_layers(adata: AnnData, key: str | None) -> AnnData:
    """Give an object that shares everything but the dense layers of the fit."""
    of_fit = Keys(key).all_names()["layers"]
    parts: dict[str, Any] = {place: dict(getattr(adata, place)) for place in ("obsm", "varm", "obsp", "varp")}
    parts["layers"] = {name: adata.layers[name] for name in layer_names(adata) if name not in of_fit}
    return AnnData(adata.X, obs=adata.obs, var=adata.var, uns=adata.uns, raw=adata.raw, **parts)


def write_tuning(adata: AnnData, folder: Path, *, command: str) -> None:
    """Write the trials of a search, their summary, the picture and the h5ad that the fits go on from.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.tune` was run; the command is noted in it.
    folder
        An existing folder, such as the one that :func:`staged` gives.
    command
        The command line that made the search.

    Raises
    ------
    Incomplete
        If something could not be drawn or written, when all the rest has been.
    """
    Record.read(adata)[TUNING]["params"]["command"] = command
    with parts(folder) as part:
        with part("trials.csv") as path:
            write_csv(get.tuning_df(adata), path)
        with part("summary.csv") as path:
            write_csv(get.tuning_summary_df(adata), path)
        with part("tuning.png") as path:
            path.write_bytes(as_png(pl.tuning(adata, show=False, return_fig=True)))
        with part("tuned.h5ad") as path:
            write_h5ad(adata, path)


Part = Callable[[str], AbstractContextManager[Path]]


@contextmanager
def parts(folder: Path) -> Iterator[Part]:
    """Write the parts of a result one after the other, each in a block of its own that may fail.

    Parameters
    ----------
    folder
        Where they go.

    Raises
    ------
    Incomplete
        At the end, if a part could not be made, with the reasons.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home, parts(Path(home)) as part:
    ...     with part("a.csv") as path:
    ...         _ = path.write_text("1")
    """
    missing: dict[str, Exception] = {}

    @contextmanager
    def part(name: str) -> Iterator[Path]:
        path = folder / name
        try:
            yield path
        except Exception as error:  # whatever it is, the other parts are worth having
            missing[name] = error
            if path.is_file():
                path.unlink()  # a half

    yield part
    if missing:
        reasons = ", ".join(f"{name} ({_reason(error)})" for name, error in missing.items())
        raise Incomplete(f"--out: could not make {reasons}") from next(iter(missing.values()))


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else sentence(error)
