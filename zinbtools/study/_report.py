"""One page that holds a whole study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import get
from .._record.keys import Keys
from .._record.parts import FAILURES, PARAMS, SELECTION
from .._record.record import Record
from .._words.answers import Answer
from .._words.numbers import in_words
from ._diagnostics import Light, diagnostics
from ._evidence import ReportTable, evidence, gene_table
from ._page import page

if TYPE_CHECKING:
    from anndata import AnnData

    from ._figures import Picture
    from ._pipeline import Study
    from ._source import Source

N_GENES_SHOWN = 25
CALL = 1  # column of the genes
# What makes a fit readable for machines says little to people.
NOT_SHOWN = {
    "covariates",
    "draw_seed",
    "failed",
    "fitted_genes",
    "format",
    "layer_memory",
    "layers",
    "var_names",
}
PACKAGES = ("zinbtools", "anndata", "scanpy", "torch", "numpy", "scipy", "pandas")
# A level is told by its sign and its word, and not by its colour alone.
LAMPS = {"good": "● Good", "look": "▲ Look", "bad": "■ Bad"}
SECTIONS = [(name.lower(), name) for name in ("Figures", "Diagnostics", "Evidence", "Genes", "Settings")] + [
    ("cite", "How to cite")
]
REFERENCES = (
    "Clivio, Boyeau, Lopez, Regier and Yosef (2019), Should we zero-inflate scVI? The question, the checks "
    "and the picture of the zeros.",
    "Lopez, Regier, Cole, Jordan and Yosef (2018), Deep generative modeling for single-cell "
    "transcriptomics, Nature Methods 15. The models.",
    "Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, Journal of Machine "
    "Learning Research 25. The diagnostic of the likelihoods.",
)


def report_html(
    study: Study,
    pictures: Sequence[Picture],
    *,
    title: str,
    command: str | None = None,
    source: Source | None = None,
) -> str:
    """Lay out the study as one self-contained HTML page.

    Parameters
    ----------
    study
        What :func:`~zinbtools.study.run_study` gave.
    pictures
        Figures in their order.
    title
        What the counts are called.
    command
        The command line that made the study.
    source
        What the counts were read from.
    """
    adata, key = study.adata, study.key
    genes, lights = gene_table(adata, key), diagnostics(adata, key)
    drawn = {picture.name: picture for picture in pictures}
    return page(
        "report.html.j2",
        title=title,
        date=date.today().isoformat(),
        n_cells=f"{adata.n_obs:,}",
        n_genes=f"{adata.n_vars:,}",
        splits=_splits(adata, key),
        verdict=get.verdict(adata, key=key),
        answer=_answer(adata, key),
        hero=drawn.pop("verdict", None),
        health=_health(lights),
        failures=_failures(adata, key),
        sections=SECTIONS,
        tables=evidence(study),
        lights=lights,
        lamps=LAMPS,
        pictures=[*drawn.values()],
        calls=_calls(genes),
        call_names=_call_names(genes),
        genes=replace(genes, rows=genes.rows[:N_GENES_SHOWN]),
        gene_data=_json(genes.rows),
        command=command,
        source=source,
        settings=_settings(adata, key),
        versions=[("python", python_version()), *((name, version(name)) for name in PACKAGES)],
        references=[f"zinbtools {version('zinbtools')} ({date.today().year}).", *REFERENCES],
    )


def _health(lights: Sequence[Light]) -> str:
    """Write one line on the diagnostics, beside the verdict that rests on them."""
    raised = [light for light in lights if light.level != "good"]
    if not raised:
        return f"All {len(lights)} diagnostics are good."
    worst = sum(light.level == "bad" for light in raised)
    others = [f"{n} {what}" for n, what in ((len(raised) - worst, "to look at"), (worst, "bad")) if n]
    return f"{len(lights) - len(raised)} of {len(lights)} diagnostics are good, {', '.join(others)}."


def _answer(adata: AnnData, key: str | None) -> str:
    """Name the answer as the style sheet does."""
    return Answer(get.verdict(adata, key=key).verdict).name.lower().replace("_", "-")


def _call_names(genes: ReportTable) -> list[str]:
    """List the calls that were made: zero-inflated, undecided, negligible."""
    return sorted({row[CALL] for row in genes.rows}, reverse=True) if genes.columns[CALL] == "call" else []


def _calls(genes: ReportTable) -> str:
    found = Counter(row[CALL] for row in genes.rows)
    words = ", ".join(f"{found[call]:,} {call}" for call in _call_names(genes))
    return f"Of {len(genes.rows):,} genes: {words}." if words else ""


def _json(rows: Sequence[Sequence[str]]) -> str:
    """Write cells for the page's script; no name can end the element that holds them."""
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", r"\u003c")


def _splits(adata: AnnData, key: str | None) -> str:
    sizes = adata.obs[Keys(key).split].value_counts()
    told = ", ".join(f"{sizes[name]:,} {name}" for name in ("train", "validation", "test") if sizes.get(name))
    params = Record.read(adata, key).get(SELECTION, {}).get("params", {})
    n_folds = int(params.get("folds", 1))
    return told if n_folds == 1 else f"in the first of {in_words(n_folds)} folds {told}"


def _failures(adata: AnnData, key: str | None) -> list[str]:
    """Write one sentence for each restart whose training broke off."""
    table = Record.read(adata, key).get(FAILURES)
    return [] if table is None else [message[0].upper() + message[1:] for message in table["message"]]


def _settings(adata: AnnData, key: str | None) -> list[tuple[str, str]]:
    params = Record.read(adata, key)[PARAMS]
    shown = {name.replace("_", " "): _plain(params[name]) for name in sorted(set(params) - NOT_SHOWN)}
    return [(name, value) for name, value in shown.items() if value]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple, np.ndarray)):
        return ", ".join(_plain(item) for item in value)
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
