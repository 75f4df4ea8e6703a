"""`fit_nb_zinb`: both models, fitted to the same cells and evaluated on the same others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from anndata import AnnData

from .._anndata.reading import check_anndata
from .._anndata.results import refuse_to_overwrite, target_of
from .._check.arguments import checked
from .._check.rng import RNG
from .._record.keys import Keys
from ..jobs import Where
from ..jobs.threads import single_threaded
from ..model.config import Likelihood, ProtocolName
from ._added import says_what_it_added
from ._asked import asked, settings_among
from ._outputs import affordable
from ._setup import Run, Seeds, prepare, read_sample
from ._trained import train


@checked
@says_what_it_added
@single_threaded()
def fit_nb_zinb(
    adata: AnnData,
    *,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    batch_key: str | None = None,
    categorical_covariate_keys: str | Sequence[str] | None = None,
    continuous_covariate_keys: str | Sequence[str] | None = None,
    size_factor_key: str | None = None,
    models: Likelihood | Sequence[Likelihood] = ("nb", "zinb"),
    protocol: ProtocolName = "default",
    config: Literal["tuned"] | None = None,
    n_latent: int = 10,
    n_hidden: int = 128,
    n_layers: int = 1,
    dropout_rate: float = 0.1,
    dispersion: Literal["gene", "gene-batch", "gene-cell", "none"] = "gene",
    library: Literal["latent", "observed"] = "latent",
    n_restarts: int = 1,
    max_epochs: int | None = None,
    early_stopping: bool = True,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    split: Sequence[float] | str | None = None,
    n_draws: int = 25,
    layers: Literal["mean", "dropout"] | Sequence[Literal["mean", "dropout"]] = ("mean", "dropout"),
    layer_memory: float = 4.0,
    check_counts: bool = True,
    device: str = "auto",
    n_jobs: int | Literal["auto"] = "auto",
    executor: Where = "threads",
    resume: str | os.PathLike[str] | None = None,
    rng: RNG = 0,
    progress: bool = True,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Fit a negative binomial and a zero-inflated negative binomial autoencoder to raw counts.

    Both are scVI's model: ``z ~ N(0, I)``, ``l ~ N(m_s, v_s)`` the log library size of batch s,
    ``mu = e^l softmax(f(z, s))``, ``x ~ NB(mu, theta)`` with variance ``mu + mu^2 / theta``; the ZINB puts a
    zero in place of the count with probability ``sigmoid(h(z, s))``. They share architecture, split, order of
    minibatches and seeds, and differ in nothing but the dropout head.

    Parameters
    ----------
    adata
        Cells x genes with raw counts.
    n_latent, n_hidden, n_layers, dropout_rate
        Dimensions of z, units per hidden layer, hidden layers, dropout rate of the encoders.
    n_restarts
        Independent fits of each model. Layers, embeddings and ``var`` columns come from
        the one with the best validation ELBO, the metrics from all.
    early_stopping
        Stop when the validation ELBO has not improved for a while. The best weights are kept in any case.
    batch_size
        Cells per minibatch. By default an eighth of the training cells, 32 to 128; 128 for ``"blog2019"``.
    learning_rate
        Peak learning rate, the protocol's by default.
    split
        Shares of training, validation and test cells, or a column of ``obs`` that holds ``train``,
        ``validation`` and ``test``. By default (0.8, 0.1, 0.1), and (0.8, 0, 0.2) for ``"blog2019"``, which
        stops on test cells.

    Returns
    -------
    ``None``, or the copy. Sets, for each model:

    ``obsm["X_nb"]``, ``obsm["X_zinb"]``
        Posterior mean of z, float32, (n_obs, n_latent).
    ``layers["nb_mean"]``, ``layers["zinb_mean"]``, ``layers["zinb_dropout"]``
        ``mu`` in counts and dropout probability, averaged over draws, float32, (n_obs, n_vars).
    ``obs["zinbtools_split"]``
        ``train``, ``validation`` or ``test``.
    ``obs["zinbtools_digest"]``
        A number made of the cell's counts, by which every verb after the fit knows them again.
    ``var["nb_inverse_dispersion"]``, ``var["zinb_inverse_dispersion"]``
        ``theta``; its geometric mean over cells where it is not one number per gene.
    ``var["nb_zero_fraction"]``, ``var["zinb_zero_fraction"]``, ``var["zinb_mean_dropout"]``
        Expected share of zeros and dropout probability, averaged over cells.
    ``uns["zinbtools"]``
        ``params``, ``history``, ``metrics``, ``weights``, and ``failures`` if a restart failed.

    Genes that are not fitted get NaN.

    Warns
    -----
    UserWarning
        If whole numbers look like reads, or like no counts at all, if many cells are there
        twice, if a batch or category has no training cell, or if ``layer_memory`` is too small.

    Raises
    ------
    ValueError, KeyError, TypeError
        For counts, columns and settings that cannot be used, and for a ``key_added`` under which there are
        things that no fit has written, before any training.
    RuntimeError
        If the loss of every restart of a model stopped being finite, or a worker process died. ``adata`` is
        as it was in all cases.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> adata.obsm["X_zinb"].shape, adata.layers["zinb_dropout"].shape
    ((400, 10), (400, 50))
    """
    given = settings_among(locals())
    check_anndata(adata, copy)
    keys = Keys(key_added)
    refuse_to_overwrite(adata, keys)
    run = Run.on(device, n_jobs, executor, resume=resume, progress=progress)
    settings = asked(adata, keys, **given)
    seeds = Seeds.spawn(rng, n_restarts)
    sample, digests = read_sample(adata, settings)
    setup = prepare(sample, settings, seeds.split, run.device)
    wanted = affordable(adata, settings)
    results = train(setup, seeds, run).results(adata, keys, digests, wanted, run.n_threads)
    target = target_of(adata, copy)
    results.write(target, keys)
    return target if copy else None
