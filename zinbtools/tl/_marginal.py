"""`marginal_ll`: how likely each cell is, its latent state integrated out."""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial
from typing import Literal

import numpy as np
import torch
from anndata import AnnData

from .._anndata import check_anndata, writable
from .._fitted import Fitted, resolve_device
from .._rng import RNG, integer
from .._threads import single_threaded
from ..jobs import DaskClient, check_workers, run
from ..model.marginal import marginal_log_likelihood
from ._metrics import Metric, update_metrics


@single_threaded()
def marginal_ll(
    adata: AnnData,
    *,
    n_samples: int = 100,
    split: Literal["train", "validation", "test", "all"] = "test",
    device: str = "auto",
    n_jobs: int = 1,
    executor: Executor | DaskClient | None = None,
    rng: RNG = 0,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Log likelihood of cells by importance sampling.

    ``log p(x_n)`` is estimated by ``log mean_k w_nk`` with
    ``w_nk = p(x_n|z_k, l_k) p(z_k) p(l_k) / (q(z_k|x_n) q(l_k|x_n))`` and draws from ``q``, in double
    precision. It is biased low by about half the squared Monte Carlo error of the cell. Both models use the
    same draws.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run.
    n_samples
        Draws per cell.
    split
        Which cells to evaluate. Only ``"test"`` cells are new to the models.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    n_jobs, executor
        Worker processes that the restarts are shared out to, or where to evaluate them instead; as for
        `zinbtools.tl.fit_nb_zinb`.
    rng
        Seed, numpy Generator or SeedSequence.
    key
        ``key_added`` of the fit.
    copy
        Return a changed copy rather than change ``adata``.

    Returns
    -------
    ``None``, or the copy. Sets, for each model:

    ``obs["nb_marginal_ll"]``, ``obs["zinb_marginal_ll"]``
        Log likelihood of each cell under the best restart, nats; NaN for cells that were not evaluated.
    ``uns["zinbtools"]["metrics"]``
        A row ``nll`` per restart: minus the mean over cells, nats per cell; ``se`` is its Monte Carlo error.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If the split has no cells.
    RuntimeError
        If a worker process died.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> zt.tl.marginal_ll(adata, n_samples=10)
    >>> int(adata.obs["zinb_marginal_ll"].notna().sum())
    40
    """
    check_anndata(adata, copy)
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, found {n_samples}.")
    fit = Fitted.read(adata, key)
    where = resolve_device(device)
    check_workers(n_jobs, executor, where.type)
    cells = fit.cells(adata, split)
    data = fit.data(adata, where)
    evaluate = partial(
        marginal_log_likelihood,
        data=data,
        cells=torch.as_tensor(cells, device=where),
        n_samples=n_samples,
        seed=integer(rng),
    )
    restarts = [(name, restart) for name in fit.models for restart in fit.restarts(name)]
    models = (fit.load(name, where, restart) for name, restart in restarts)
    rows: dict[int, Metric] = {}
    by_cell: dict[str, np.ndarray] = {}
    for place, estimate in run(evaluate, models, n_jobs=min(n_jobs, len(restarts)), executor=executor):
        name, restart = restarts[place]
        error = float(estimate.standard_error.square().sum().sqrt()) / len(cells)
        rows[place] = Metric(name, restart, split, "nll", -float(estimate.log_likelihood.mean()), error)
        if restart == fit.best_restart(name):
            by_cell[name] = np.full(adata.n_obs, np.nan)
            by_cell[name][cells] = estimate.log_likelihood[0].numpy(force=True)
    target = writable(adata, copy)
    for model in fit.models:
        target.obs[fit.keys.marginal_ll(model)] = by_cell[model]
    update_metrics(target, fit.keys, [row for _, row in sorted(rows.items())])
    return target if copy else None
