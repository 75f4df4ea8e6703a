"""Fit both models and evaluate them, in the order in which a person would."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from anndata import AnnData

from .. import get, tl
from .._check.arguments import checked
from ..jobs import Where
from ._conclusion import conclusion
from ._summary import summary, table_text


@dataclass(frozen=True, eq=False)
class Study:
    """Finished comparison: the object with its results, the table and the conclusion.

    Attributes
    ----------
    adata
        The object with every result in it.
    key
        ``key_added`` of the fit.
    table
        What :func:`summary` gives: one row per model, the mean over its restarts.
    conclusion
        What :func:`conclusion` gives: the answer in words.
    """

    adata: AnnData
    key: str | None
    table: pd.DataFrame
    conclusion: str

    def __str__(self) -> str:
        """Write the means over restarts, the best restarts, and the conclusion."""
        best = summary(self.adata, best=True, key=self.key)
        return f"{table_text(self.table, best)}\n\n{self.conclusion}"


@checked
def run_study(
    adata: AnnData,
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    check_counts: bool = True,
    protocol: Literal["default", "blog2019"] = "default",
    config: Literal["tuned"] | None = None,
    n_restarts: int | Literal["auto"] = "auto",
    folds: int | Literal["auto"] = "auto",
    max_epochs: int | None = None,
    cells: int | Literal["auto", "all"] = "auto",
    counts: Literal["auto", "molecules", "reads"] = "auto",
    n_samples: int = 100,
    device: str = "auto",
    n_jobs: int | Literal["auto"] = "auto",
    executor: Where = "threads",
    resume: str | os.PathLike[str] | None = None,
    rng: int = 0,
    progress: bool = True,
    key_added: str | None = None,
) -> Study:
    """Fit NB and ZINB, compare them on test cells, score the genes and conclude.

    Parameters
    ----------
    adata
        Cells by genes with raw counts. The results are added to it.
    n_restarts, folds, cells, counts
        As for :func:`zinbtools.tl.model_selection`.
    n_samples
        Importance samples per cell of the held-out log likelihood, and draws of the predictive checks.
    rng
        Seed of every step.
    progress
        Announce the steps and show progress bars.

    Returns
    -------
    The object with its results, the table and the conclusion.

    Raises
    ------
    ValueError, KeyError, TypeError
        Whatever the verbs find wrong with the input, before anything is fitted.
    """

    def announce(step: str) -> None:
        if progress:
            print(step, flush=True)

    announce(f"fitting and comparing NB and ZINB: {adata.n_obs:,} cells x {adata.n_vars:,} genes")
    tl.model_selection(
        adata,
        n_restarts=n_restarts,
        folds=folds,
        layer=layer,
        batch_key=batch_key,
        check_counts=check_counts,
        protocol=protocol,
        config=config,
        max_epochs=max_epochs,
        cells=cells,
        counts=counts,
        n_samples=n_samples,
        device=device,
        n_jobs=n_jobs,
        executor=executor,
        resume=resume,
        rng=rng,
        progress=progress,
        key_added=key_added,
    )
    return Study(
        adata=adata,
        key=key_added,
        table=summary(adata, key=key_added),
        conclusion=conclusion(adata, key=key_added),
    )


def run_tuning(adata: AnnData, **settings: Any) -> pd.DataFrame:
    """Search for settings of both models, and summarise what was found.

    Parameters
    ----------
    adata
        Cells by genes with raw counts. The search is added to it.
    **settings
        As for :func:`zinbtools.tl.tune`.

    Returns
    -------
    What :func:`zinbtools.get.tuning_summary_df` gives.
    """
    tl.tune(adata, **settings)
    return get.tuning_summary_df(adata, key=settings.get("key_added"))
