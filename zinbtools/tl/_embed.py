"""`embed`: what the models of a fit say of every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from anndata import AnnData

from .._anndata.reading import check_anndata
from .._anndata.results import target_of
from .._check.arguments import checked
from ..get._fitted import Fitted, resolve_device
from ..jobs.threads import single_threaded
from ..model.predictive import embedding, expectations
from ._added import says_what_it_added
from ._asked import key_list
from ._outputs import affordable


@checked
@says_what_it_added
@single_threaded()
def embed(
    adata: AnnData,
    *,
    layers: Literal["mean", "dropout"] | Sequence[Literal["mean", "dropout"]] = (),
    layer_memory: float = 4.0,
    device: str = "auto",
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Write the embedding of every cell, and layers on request, by the best restart of each model.

    After `zinbtools.tl.model_selection` on some of many cells, and for cells that were added to those that
    were fitted. The counts are read once for each model.

    Parameters
    ----------
    layers
        Which to write too; none by default.

    Returns
    -------
    ``None``, or the copy. Sets ``obsm["X_nb"]``, ``obsm["X_zinb"]`` and the layers as
    `zinbtools.tl.fit_nb_zinb` does. Where these cells were fitted in this order, the numbers are those of the
    fit.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If counts of cells that were fitted are no longer what they were, or those of others are no counts.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=600)
    >>> settings = {"n_restarts": 2, "n_samples": 10, "n_null": 5, "max_epochs": 5, "progress": False}
    >>> zt.tl.model_selection(adata, cells=400, **settings)
    >>> zt.tl.embed(adata)
    >>> adata.obsm["X_zinb"].shape
    (600, 10)
    """
    check_anndata(adata, copy)
    fit = Fitted.read(adata, key)
    asked = replace(fit.settings, layers=key_list(layers), layer_memory=layer_memory)
    wanted, genes = affordable(adata, asked), fit.genes(adata)
    data = fit.data(adata, resolve_device(device))
    place_of = {"mean": fit.keys.mean, "dropout": fit.keys.dropout}
    latent: dict[str, np.ndarray] = {}
    written: dict[str, np.ndarray] = {}
    for name in fit.models:
        model = fit.load(name, data.device)
        latent[fit.keys.latent(name)] = embedding(model, data)
        kept = {
            what: np.full(adata.shape, np.nan, dtype=np.float32)
            for what in wanted
            if what == "mean" or name == "zinb"
        }
        blocks = expectations(model, data, n_draws=asked.n_draws, seed=fit.draw_seed) if kept else ()
        for block in blocks:
            entries = np.ix_(block.cells.numpy(force=True), genes)
            for what, values in kept.items():
                values[entries] = getattr(block, what).numpy(force=True)
        written |= {place_of[what](name): values for what, values in kept.items()}
    target = target_of(adata, copy)
    target.obsm.update(latent)
    target.layers.update(written)
    return target if copy else None
