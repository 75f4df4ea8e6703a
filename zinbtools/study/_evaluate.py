"""Judge models that scvi-tools trained and saved."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from anndata import AnnData

from .. import get, tl
from .._check.arguments import checked
from .._record.record import Record
from .._words.models import model_name
from .._words.sentence import sentence
from ..get._checks import metric_name
from ..get._fitted import Fitted
from ._conclusion import conclusion
from ._pipeline import Study
from ._summary import summary, table_text

KEY = "scvi"
_MODEL = "model.pt"


def with_genes_of(adata: AnnData, folders: Sequence[Path]) -> AnnData:
    """Take the genes that saved models have, in their order.

    Parameters
    ----------
    adata
        Raw counts with these genes and perhaps others.
    folders
        Where ``SCVI.save`` put the models. Loading one runs what is pickled in it.

    Raises
    ------
    ValueError
        If scvi-tools is not installed, a folder holds no SCVI model, models differ in their genes, or genes
        are missing.
    """
    SCVI = _scvi_tools()
    names: list[str] | None = None
    for folder in folders:
        if not (folder / _MODEL).is_file():
            raise ValueError(f"--scvi must be a folder that SCVI.save made, found no {_MODEL} in {folder}.")
        with _quiet():
            try:
                found = SCVI.prepare_query_anndata(adata, str(folder), return_reference_var_names=True)
            except Exception as error:  # of unpickling there are all manners
                raise ValueError(f"--scvi: scvi-tools cannot read {folder}: {sentence(error)}") from error
        if names is not None and list(found) != names:
            raise ValueError(f"--scvi: the model in {folder} has other genes than that in {folders[0]}.")
        names = [str(name) for name in found]
    absent = [name for name in names or [] if name not in adata.var_names]
    if absent:
        raise ValueError(
            f"the counts lack {len(absent)} genes of the model in {folders[0]}, {absent[0]!r} among them."
        )
    return adata[:, names].copy()


def load_scvi(adata: AnnData, folders: Sequence[Path]) -> list[Any]:
    """Load models for the cells that they were trained on, or with the cells that were saved with them.

    Parameters
    ----------
    adata
        What :func:`with_genes_of` gives. Without an AnnData beside a model its cells must be those that it
        was trained on, in that order.
    folders
        Where the models are.

    Raises
    ------
    ValueError
        If scvi-tools cannot load a model for these counts, or they have another number of cells.
    """
    return [_loaded(adata, folder) for folder in folders]


def _loaded(adata: AnnData, folder: Path) -> Any:
    SCVI = _scvi_tools()
    has_cells = (folder / "adata.h5ad").is_file()
    with _quiet():
        try:
            fields = SCVI.load_registry(str(folder))["field_registries"]
            n_cells = int(fields["X"]["summary_stats"]["n_cells"])
            if has_cells or n_cells == adata.n_obs:
                return SCVI.load(str(folder), adata=None if has_cells else adata, accelerator="cpu")
        except Exception as error:  # what is in the file, or what scvi-tools thinks of the counts
            raise ValueError(f"--scvi: scvi-tools cannot load {folder}: {sentence(error)}") from error
    raise ValueError(
        f"--scvi: the model in {folder} was trained on {n_cells:,} cells, and there are {adata.n_obs:,}. "
        "Give the counts that it was trained on, or save it with its own: model.save(..., save_anndata=True)."
    )


def _scvi_tools() -> Any:
    with _quiet():
        try:
            from scvi.model import SCVI
        except ModuleNotFoundError as error:
            raise ValueError("--scvi needs scvi-tools: pip install scvi-tools.") from error
    return SCVI


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what scvi-tools and its packages warn and tell of, which is how they were written."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


@checked
def run_evaluation(
    adata: AnnData,
    models: Sequence[Any],
    *,
    rope: float | None = None,
    alpha: float = 0.05,
    counts: Literal["auto", "molecules", "reads"] = "auto",
    n_samples: int = 100,
    progress: bool = True,
    **run: Any,
) -> tuple[Study, str]:
    """Judge a pair of imported models as it is; or check one, and compare pairs that are trained like it.

    Parameters
    ----------
    adata
        Cells by genes with raw counts. The results are added to it, those of the models under the key "scvi".
    models
        An SCVI model, or an NB and a ZINB.
    rope, alpha, counts
        As for :func:`zinbtools.tl.model_selection`.
    n_samples
        Importance samples per cell, and draws of the predictive checks.
    progress
        Announce the steps and show progress bars.
    **run
        How to run, as for :func:`zinbtools.tl.model_selection`.

    Returns
    -------
    The study, of the pair or of those that were trained like the one, and what is to be told of that one
    model, empty of a pair.
    """
    tl.import_scvi(
        adata,
        list(models),
        layers=("mean", "dropout") if len(models) > 1 else (),  # the pictures are of a pair
        device=run.get("device", "auto"),
        rng=run.get("rng", 0),
        key_added=KEY,
    )
    how: dict[str, Any] = {"rope": rope, "alpha": alpha, "counts": counts, "n_samples": n_samples}
    how |= {"progress": progress, **run}
    if len(models) > 1:
        _say("comparing the models as they are", progress)
        tl.model_selection(adata, **how, retrain=False, key_added=KEY)
        return _study(adata, KEY), ""
    _say("checking the model", progress)
    told = _checked_alone(adata, n_samples, progress)
    _say("training and comparing pairs like it", progress)
    tl.model_selection(adata, **how, **_like(adata))
    return _study(adata, None), told


def _say(step: str, progress: bool) -> None:
    if progress:
        print(step, flush=True)


def _study(adata: AnnData, key: str | None) -> Study:
    return Study(adata, key, summary(adata, key=key), conclusion(adata, key=key))


def _checked_alone(adata: AnnData, n_samples: int, progress: bool) -> str:
    """Evaluate one model on its test cells, or on all cells if it has none, and say what was found."""
    record = Record.read(adata, KEY)
    n_test = int((adata.obs[record.keys.split] == "test").sum())
    split: Literal["test", "all"] = "test" if n_test else "all"
    tl.marginal_ll(adata, n_samples=n_samples, split=split, progress=progress, key=KEY)
    tl.ppc(adata, n_samples=n_samples, split=split, progress=progress, key=KEY)
    table: pd.DataFrame = summary(adata, key=KEY).loc[record.models]
    cells = f"{n_test:,} test cells" if n_test else f"all {adata.n_obs:,} cells, which it was trained on"
    null = get.ppc_ks_df(adata, key=KEY)
    beyond = [
        metric_name(f"ks_{check}").removeprefix("KS, ")
        for check in null.loc[null["ks"] > null["null_high"], "check"]
    ]
    fits = (
        f"The counts are further from its draws than its own draws are from each other: {'; '.join(beyond)}."
        if beyond
        else "The counts are no further from its draws than its own draws are from each other."
    )
    name = model_name(record.models[0])
    return (
        f"The {name} as scvi-tools trained it, on {cells}:\n{table_text(table)}\n{fits}\n\n"
        "Pairs that zinbtools trained with its architecture and columns:"
    )


def _like(adata: AnnData) -> dict[str, Any]:
    """Settings of new fits with the architecture and the columns of the model."""
    settings = Fitted.read(adata, KEY).settings
    of_model = ("n_latent", "n_hidden", "n_layers", "dispersion", "library")
    columns = ("layer", "batch_key", "categorical_covariate_keys", "continuous_covariate_keys")
    return {name: getattr(settings.common, name) for name in of_model} | {
        name: getattr(settings, name) for name in columns
    }
