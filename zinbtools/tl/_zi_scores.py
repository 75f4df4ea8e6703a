"""`zi_scores`: which genes gain from zero inflation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from anndata import AnnData

from .._anndata import check_anndata, spread, writable
from .._fitted import Fitted, resolve_device
from .._rng import RNG, integer
from .._threads import single_threaded
from ..model.predictive import gene_reconstruction


@single_threaded()
def zi_scores(
    adata: AnnData,
    *,
    method: Literal["reconstruction"] = "reconstruction",
    n_samples: int = 25,
    split: Literal["train", "validation", "test", "all"] = "test",
    device: str = "auto",
    rng: RNG = 0,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Score each gene by how much better the ZINB reconstructs it than the NB.

    The score is the mean over cells of ``E_q log p_ZINB(x_ng | z, l) - E_q log p_NB(x_ng | z, l)``: the
    study's score with its sign turned, so that POSITIVE means zero-inflated, and averaged over ``n_samples``
    draws instead of one. It compares two different networks; small scores also reflect how they differ
    otherwise.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run with both models.
    method
        How to score.
    n_samples
        Posterior draws per cell.
    split
        Which cells.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    rng
        Seed, numpy Generator or SeedSequence.
    key
        ``key_added`` of the fit.
    copy
        Return a changed copy rather than change ``adata``.

    Returns
    -------
    ``None``, or the copy. Sets ``var["zi_score"]``, nats per cell, and its standard error over cells,
    ``var["zi_score_se"]``; NaN for genes that were not fitted.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If one of the models was not fitted, the method is not known or the split has fewer than two cells.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> zt.tl.zi_scores(adata, n_samples=5)
    >>> bool(adata.var[["zi_score", "zi_score_se"]].notna().all(axis=None))
    True
    """
    check_anndata(adata, copy)
    if method != "reconstruction":
        raise ValueError(f"method must be 'reconstruction', found {method!r}.")
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, found {n_samples}.")
    fit = Fitted.read(adata, key)
    if fit.models != ["nb", "zinb"]:
        raise ValueError(f"scores compare 'nb' with 'zinb', but only {fit.models[0]!r} was fitted; fit both.")
    where = resolve_device(device)
    cells = fit.cells(adata, split)
    if len(cells) < 2:
        raise ValueError(f"split {split!r} has {len(cells)} cell; a standard error needs at least 2.")
    data = fit.data(adata, where)
    everyone, seed = torch.as_tensor(cells, device=where), integer(rng)
    nb, zinb = (
        gene_reconstruction(fit.load(name, where), data, everyone, n_samples=n_samples, seed=seed)
        for name in fit.models
    )
    total, total_of_squares = np.zeros(data.n_genes), np.zeros(data.n_genes)
    for nb_block, zinb_block in zip(nb, zinb, strict=True):
        gain = zinb_block - nb_block
        total += gain.sum(0)
        total_of_squares += np.square(gain).sum(0)
    n = len(cells)
    score = total / n
    variance = np.maximum(total_of_squares / n - score**2, 0) * n / (n - 1)
    genes = fit.genes(adata)
    target = writable(adata, copy)
    target.var[fit.keys.score] = spread(score, genes)
    target.var[fit.keys.score_se] = spread(np.sqrt(variance / n), genes)
    return target if copy else None
