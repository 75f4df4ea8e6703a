"""`import_scvi`: models that scvi-tools trained, as if `fit_nb_zinb` had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .._anndata.counts import read_counts
from .._anndata.reading import check_anndata, read_split
from .._anndata.results import refuse_to_overwrite, target_of
from .._check.arguments import checked
from .._check.rng import RNG, integers, seed_sequence
from .._record.keys import Keys
from .._record.parts import PARAMS
from .._record.record import Record
from .._words.models import model_name
from .._words.warn import warn
from ..get._fitted import resolve_device
from ..jobs.threads import single_threaded
from ..model.config import FitConfig, Likelihood, default_epochs
from ..model.training import EpochRecord, Training
from ._added import says_what_it_added
from ._asked import asked
from ._outputs import affordable
from ._scvi import Imported, convert
from ._scvi_split import joint_split, own_split, with_test_cells
from ._setup import Sample, Seeds, setup_of
from ._trained import evaluated


@checked
@says_what_it_added
@single_threaded()
def import_scvi(
    adata: AnnData,
    model: Any,
    *,
    split: str | None = None,
    n_draws: int = 25,
    layers: Literal["mean", "dropout"] | Sequence[Literal["mean", "dropout"]] = ("mean", "dropout"),
    layer_memory: float = 4.0,
    device: str = "auto",
    rng: RNG = 0,
    key_added: str | None = "scvi",
    copy: bool = False,
) -> AnnData | None:
    """Take over SCVI models that scvi-tools trained, so that every verb can evaluate them.

    The weights become those of zinbtools' own model, which computes the same function: no new training.
    After it `zinbtools.tl.marginal_ll`, `zinbtools.tl.ppc` and the others work with ``key="scvi"``.

    Parameters
    ----------
    adata
        Cells x genes with raw counts, in the layer that the model was set up with; those that it was
        trained on or others, with the same genes and columns of ``obs``.
    model
        A trained ``scvi.model.SCVI`` with ``gene_likelihood`` ``"nb"`` or ``"zinb"``, or a list of one of
        each, alike in everything else.
    split
        Column of ``obs`` that holds ``train``, ``validation`` and ``test``. By default the models' own
        split: by position where ``adata`` has their cells in their order, else by the names of the cells.
        Cells that they do not know are test cells. A cell that one of two models was trained on is a
        training cell of both. Without test cells, as scvi-tools splits by default, the validation cells are
        taken for test cells, which they are if no training stopped by them.
    key_added
        Imports under different keys live side by side; one under the same key takes the place of the other.

    Returns
    -------
    ``None``, or the copy. Sets what `zinbtools.tl.fit_nb_zinb` does, under ``key_added``.
    ``zinbtools.tl.model_selection(adata, key_added="scvi", retrain=False)`` gives the verdict on a pair.
    Without ``retrain=False`` it trains pairs anew, with the architecture and the columns that the models
    have, as zinbtools trains; so do the other verbs that fit anew.

    Warns
    -----
    UserWarning
        If no test cells were kept, if two models were trained on different cells, or if an import of the
        other likelihood is replaced.

    Raises
    ------
    TypeError
        If ``model`` is no SCVI model.
    ValueError
        If an option of the model has no counterpart (size factors, other likelihoods, encoded covariates,
        layer normalisation, ...), if two models differ in more than their likelihood, if the genes are
        others, or if names do not tell which cells are the model's (given twice, or to other counts).
    KeyError
        If a layer or a column that the model was set up with is missing.

    Examples
    --------
    >>> import zinbtools as zt
    >>> import scvi  # doctest: +SKIP
    >>> from scvi.model import SCVI  # doctest: +SKIP
    >>> SCVI.setup_anndata(adata, layer="counts", batch_key="sample")  # doctest: +SKIP
    >>> pair = []
    >>> for likelihood in ("nb", "zinb"):  # doctest: +SKIP
    ...     scvi.settings.seed = 0  # so that both have the same split
    ...     vae = SCVI(adata, gene_likelihood=likelihood)
    ...     vae.train()
    ...     pair.append(vae)
    >>> zt.tl.import_scvi(adata, pair)  # doctest: +SKIP
    >>> zt.tl.model_selection(adata, key_added="scvi", retrain=False)  # doctest: +SKIP
    >>> print(zt.get.verdict(adata, key="scvi"))  # doctest: +SKIP
    """
    check_anndata(adata, copy)
    sources = list(model) if isinstance(model, list | tuple) else [model]
    imported = [convert(source) for source in sources]
    one = _alike(imported)
    keys = Keys(key_added)
    refuse_to_overwrite(adata, keys)
    genes = _genes(adata, one.genes)
    counts = read_counts(adata, one.layer, genes, empty_genes=True)
    draw_seed, elbo_seed = integers(seed_sequence(rng), 2)
    if split is None:
        labels = joint_split([own_split(adata, counts, source, one.layer) for source in sources])
        labels, may_have_stopped = with_test_cells(labels, sources)
    else:
        labels = read_split(adata, split, np.random.SeedSequence(0), stop_on="train")
        may_have_stopped = False
    where = resolve_device(device)
    settings = asked(
        adata,
        keys,
        layer=one.layer,
        mask_var=genes,
        batch_key=one.covariates.batch_key,
        categorical_covariate_keys=list(one.covariates.categorical),
        continuous_covariate_keys=list(one.covariates.continuous),
        n_draws=n_draws,
        layers=layers,
        layer_memory=layer_memory,
    ).of_models(_configs(imported, n_train=int((labels == "train").sum()) or adata.n_obs))
    wanted = affordable(adata, settings)
    sample = Sample(counts.matrix, adata, one.genes, counts.finding)
    setup = setup_of(sample, settings, one.covariates, labels, where)
    trainings = {
        found.likelihood: _training(found, source.history, where)
        for found, source in sorted(zip(imported, sources, strict=True), key=lambda pair: pair[0].likelihood)
    }
    seeds = Seeds(np.random.SeedSequence(0), order=0, draws=draw_seed, search=0, restarts=[elbo_seed])
    results = evaluated(setup, seeds, trainings).results(
        adata,
        keys,
        counts.digests,
        wanted,
        trained_by="scvi-tools",
        scvi_version=sources[0].registry_.get("scvi_version"),
        may_have_stopped_on_test=may_have_stopped,
    )
    target = target_of(adata, copy)
    _warn_of_replaced(target, keys, list(trainings))
    results.write(target, keys)
    return target if copy else None


def _warn_of_replaced(adata: AnnData, keys: Keys, models: Sequence[Likelihood]) -> None:
    """Warn if the key holds an import of a model that the new ones do not replace like for like."""
    record = Record.read(adata, keys.key_added)
    if PARAMS not in record or not record.is_imported:
        return
    lost = [name for name in record.models if name not in models]
    if lost:
        warn(
            f"the {model_name(lost[0])} that was imported as key_added={keys.key_added!r} is replaced; "
            "import both as a list, to compare them, or under different key_added."
        )


def _configs(imported: Sequence[Imported], n_train: int) -> dict[Likelihood, FitConfig]:
    """What a refit is told: the architecture that scvi-tools had, trained as zinbtools trains."""
    found = {
        one.likelihood: replace(one.model.config, max_epochs=default_epochs(n_train)) for one in imported
    }
    return dict(sorted(found.items()))


def _alike(imported: Sequence[Imported]) -> Imported:
    """The first of one or two models that differ in their likelihood only."""
    if not imported:
        raise ValueError("model must be an SCVI model or a list of them, found an empty list.")
    one = imported[0]
    likelihoods = [found.likelihood for found in imported]
    if len(set(likelihoods)) < len(likelihoods):
        raise ValueError(
            f"model must hold one model of each likelihood, found {', '.join(likelihoods)}; "
            "import them under different key_added."
        )
    for other in imported[1:]:
        if (other.model.config, other.covariates, other.layer) != (
            one.model.config,
            one.covariates,
            one.layer,
        ):
            raise ValueError("model holds models of different set-up; import them under different key_added.")
        if not other.genes.equals(one.genes):
            raise ValueError("model holds models of different genes; import them under different key_added.")
    return one


def _genes(adata: AnnData, names: pd.Index) -> np.ndarray:
    """Which genes are the model's, boolean, (n_vars,)."""
    genes = adata.var_names.isin(names)
    absent = names[~names.isin(adata.var_names)]
    if len(absent):
        raise ValueError(f"adata lacks {len(absent)} genes of the model, {str(absent[0])!r} among them.")
    if not adata.var_names[genes].equals(names):
        raise ValueError("adata has the model's genes in another order; put them in that of model.adata.")
    return np.asarray(genes)


def _training(found: Imported, history: dict[str, pd.DataFrame] | None, device: torch.device) -> Training:
    """The converted model with the ELBOs that scvi-tools recorded, which has them with the opposite sign."""

    def elbo(name: str) -> dict[int, float]:
        frame = (history or {}).get(f"elbo_{name}")
        if frame is None:
            return {}
        return dict(enumerate(-frame.iloc[:, 0].to_numpy(dtype=float)))

    train, validation = elbo("train"), elbo("validation")
    records = [
        EpochRecord(0, epoch, value, validation.get(epoch, np.nan), np.nan) for epoch, value in train.items()
    ] or [EpochRecord(0, 0, np.nan, np.nan, np.nan)]
    return Training(found.model.to(device), [records[-1].epoch], records)
