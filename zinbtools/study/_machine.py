"""A study for other programs: one JSON file with the verdict, its numbers, the cautions and the genes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import get
from .._record.parts import CONSEQUENCES, PARAMS, SELECTION
from .._record.record import Record
from .._words.answers import Call, Cause
from ._diagnostics import diagnostics

if TYPE_CHECKING:
    import pandas as pd

    from ._pipeline import Study
    from ._source import Source

FORMAT = 1  # docs/files.md tells what is in it; another number where a name changes or goes


def summary_json(study: Study, *, title: str, source: Source | None = None) -> str:
    """Write what a study found as JSON; docs/files.md tells every field.

    Parameters
    ----------
    study
        What :func:`~zinbtools.study.run_study` gave.
    title
        What the counts are called.
    source
        What they were read from.

    Returns
    -------
    Text; a number that is not known is null.
    """
    adata, key = study.adata, study.key
    record, verdict = Record.read(adata, key), get.verdict(adata, key=key)
    params, found = record[PARAMS], record[SELECTION]
    row = verdict.differences.set_index("model").loc["zinb"]
    observed, pooled = float(found["zeros"]["observed"].sum()), found["pooled_zeros"]
    n_entries = int(pooled["n_cells"]) * len(found["zeros"])
    content = {
        "zinbtools_summary": FORMAT,
        "version": version("zinbtools"),
        "date": date.today().isoformat(),
        "title": title,
        "input": None if source is None else asdict(source),
        "data": {
            "n_cells": adata.n_obs,
            "n_genes": adata.n_vars,
            "counts": params.get("counts"),
            "layer": params.get("layer"),
            "batch_key": params.get("batch_key"),
        },
        "verdict": {
            "answer": verdict.verdict,
            "explained_by": verdict.explained_by,
            "headline": verdict.headline,
            "plain": verdict.plain,
            "sentence": verdict.sentence,
            "cautions": list(verdict.cautions),
        },
        "difference": {
            "unit": "nats per cell",
            **{name: row[name] for name in ("difference", "se", "low", "high", "rope", "position")},
            "level": 1 - float(found["params"]["alpha"]),
            "nb_nll": row["nll"] + row["difference"],
            "zinb_nll": row["nll"],
            **{name: int(row[name]) for name in ("n_cells", "n_folds", "n_restarts")},
        },
        "zeros": {
            "observed": observed / n_entries,
            "nb_expects": float(pooled["n_expected"]) / n_entries,
            "in_excess": bool(found["excess_zeros"]),
        },
        "rivals": get.rivals_df(adata, key=key).to_dict("records"),
        "reads_per_molecule": found.get("reads_per_molecule"),
        "genes": _genes(get.zi_genes_df(adata, key=key)),
        "consequences": {name: record.get(CONSEQUENCES, {}).get(name) for name in ("position", "sentence")},
        "diagnostics": [asdict(light) for light in diagnostics(adata, key)],
    }
    return json.dumps(_plain(content), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _genes(genes: pd.DataFrame) -> dict[str, Any]:
    if "call" not in genes:
        return {"n": len(genes)}
    calls = genes["call"].astype(str)
    explained = genes["explained_by"].astype(str) if "explained_by" in genes else calls.where(calls == "", "")
    inflated = calls == Call.ZERO_INFLATED
    return {
        "n": len(genes),
        **{f"n_{call.name.lower()}": int((calls == call).sum()) for call in Call},
        "zero_inflated": genes.index[inflated & (explained == "")].astype(str).tolist(),
        "explained": {str(name): explained[name] for name in genes.index[inflated & (explained != "")]},
        "causes": _causes(genes),
    }


def _causes(genes: pd.DataFrame) -> dict[str, Any]:
    """How many genes have which cause, and the names of those in bursts or with a dropout."""
    if "class" not in genes:
        return {}
    cause = genes["class"].astype(str)
    named = (Cause.BURSTING, Cause.DROPOUT)
    return {
        "n": {of.value: int((cause == of).sum()) for of in Cause},
        **{of.value: genes.index[cause == of].astype(str).tolist() for of in named},
    }


def _plain(value: Any) -> Any:
    """Give what JSON can hold: no numpy, and null for a number that is none."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
