"""Fit both models and evaluate them, in the order in which a person would."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from anndata import AnnData

from .. import get, tl
from .._anndata.genes_and_cells import select as select  # which the shell takes from this room
from .._check.arguments import checked
from .._words.answers import Call, Cause
from .._words.models import MODELS
from .._words.numbers import counted
from ..get._fitted import Fitted
from ..get._fitted import resolve_device as resolve_device  # and this
from ..jobs import Where
from ._conclusion import conclusion
from ._summary import summary, table_text

_MOST_NAMED = 10  # genes
_ENOUGH_RESTARTS = 4  # of each model, to tell what changes with it at a level of .05
_ENOUGH_CELLS = 50


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
    categorical_covariate_keys: str | Sequence[str] | None = None,
    continuous_covariate_keys: str | Sequence[str] | None = None,
    groupby: str | None = None,
    check_counts: bool = True,
    protocol: Literal["default", "blog2019"] = "default",
    config: Literal["tuned"] | None = None,
    split: Sequence[float] | str | None = None,
    rope: float | None = None,
    alpha: float = 0.05,
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

    Where four or more restarts of each model are there, `zinbtools.tl.consequences` says what changes with
    the model, too.

    Parameters
    ----------
    adata
        Cells by genes with raw counts. The results are added to it.
    groupby, split, rope, alpha, n_restarts, folds, cells, counts
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
        categorical_covariate_keys=categorical_covariate_keys,
        continuous_covariate_keys=continuous_covariate_keys,
        groupby=groupby,
        check_counts=check_counts,
        protocol=protocol,
        config=config,
        split=split,
        rope=rope,
        alpha=alpha,
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
    if _can_tell_consequences(adata, key_added):
        announce("comparing neighbours, clusters and genes of the restarts")
        tl.consequences(adata, alpha=alpha, device=device, rng=rng, key=key_added)
    return Study(
        adata=adata,
        key=key_added,
        table=summary(adata, key=key_added),
        conclusion=conclusion(adata, key=key_added),
    )


def _can_tell_consequences(adata: AnnData, key: str | None) -> bool:
    fit = Fitted.read(adata, key)
    n_restarts = min(len(fit.restarts(model)) for model in MODELS)
    return n_restarts >= _ENOUGH_RESTARTS and adata.n_obs >= _ENOUGH_CELLS


def run_genes(
    adata: AnnData,
    *,
    counts: Literal["auto", "molecules", "reads"] = "auto",
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
    smallest_dropout: float = 0.1,
    **settings: Any,
) -> pd.DataFrame:
    """Fit the NB, test each gene and say why it has its zeros, which is all that genes need.

    Parameters
    ----------
    adata
        Cells by genes with raw counts. The fit, the calls and the causes are added to it.
    counts, alpha, negligible_dropout, smallest_dropout
        As for :func:`zinbtools.tl.explain_zeros`.
    **settings
        As for :func:`zinbtools.tl.fit_nb_zinb`.

    Returns
    -------
    What :func:`zinbtools.get.zi_genes_df` gives.
    """
    tl.fit_nb_zinb(adata, models="nb", **settings)
    tl.explain_zeros(
        adata,
        counts=counts,
        alpha=alpha,
        negligible_dropout=negligible_dropout,
        smallest_dropout=smallest_dropout,
        progress=settings.get("progress", True),
        key=settings.get("key_added"),
    )
    return get.zi_genes_df(adata, key=settings.get("key_added"))


def called(genes: pd.DataFrame) -> str:
    """Say how many genes are called what, which are zero-inflated, and why.

    Parameters
    ----------
    genes
        What :func:`run_genes` gives.

    Examples
    --------
    >>> calls = ["zero-inflated", "undecided", "undecided"]
    >>> causes = ["bursting", "none", "dispersion"]
    >>> called(pd.DataFrame({"call": calls, "class": causes}, index=["Sox2", "Xist", "Gapdh"]))
    '1 of 3 genes is zero-inflated: Sox2. 2 are undecided. Causes of zeros: 1 dispersion, 1 bursting.'
    """
    calls = genes["call"].astype(str)
    inflated = genes.index[calls == Call.ZERO_INFLATED].astype(str).tolist()
    shown = ", ".join(inflated[:_MOST_NAMED]) + (", ..." if len(inflated) > _MOST_NAMED else "")
    is_or_are = "is" if len(inflated) == 1 else "are"
    text = f"{len(inflated):,} of {counted(len(genes), 'gene')} {is_or_are} zero-inflated"
    others = calls[calls != Call.ZERO_INFLATED].value_counts()
    rest = "".join(f" {n:,} {'is' if n == 1 else 'are'} {call}." for call, n in others.items())
    counts = genes["class"].astype(str).value_counts()
    causes = ", ".join(f"{counts[of]:,} {of}" for of in Cause if of != Cause.NONE and of in counts)
    return f"{text}{f': {shown}' if shown else ''}.{rest}{f' Causes of zeros: {causes}.' if causes else ''}"


def run_reads(
    adata: AnnData, *, layer: str | None = None, batch_key: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Estimate how often each molecule was read.

    Parameters
    ----------
    adata
        Cells by genes with counts of reads. The estimates are added to it.
    layer, batch_key
        As for :func:`zinbtools.tl.reads_per_molecule`.

    Returns
    -------
    What :func:`zinbtools.get.reads_per_molecule_df` gives, a row per batch, and the columns of ``obs``, a row
    per cell.
    """
    before = set(adata.obs)
    tl.reads_per_molecule(adata, layer=layer, batch_key=batch_key)
    told = [batch_key] if batch_key is not None else []
    cells = adata.obs[told + [name for name in adata.obs if name not in before]]
    return get.reads_per_molecule_df(adata), cells.rename_axis("cell")


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
