"""`marginal_ll`: compute how likely each cell is, its latent state integrated out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._anndata.reading import check_anndata
from .._anndata.results import target_of
from .._check.arguments import checked
from .._check.rng import RNG, integer
from .._record.keys import Keys
from .._record.parts import NLL_BY_DRAWS, Metric
from .._words.models import model_name
from .._words.warn import warn
from ..get._fitted import Fitted
from ..jobs import Where, run
from ..jobs.progress import counting, one, tells
from ..jobs.threads import single_threaded
from ..model.config import Likelihood, Proposal
from ..model.data import CountData
from ..model.marginal import MarginalLikelihood, marginal_log_likelihood
from ..model.vae import CountVAE
from ..stats.importance import GOOD_K, NO_BOUND_K, SharesOfK, error_of_mean
from ._added import says_what_it_added
from ._metrics import update_metrics
from ._setup import Run
from ._trained import Trained

Restart: TypeAlias = tuple[Likelihood, int]  # model and number


@checked
@says_what_it_added
@tells
@single_threaded()
def marginal_ll(
    adata: AnnData,
    *,
    n_samples: int = 100,
    split: Literal["train", "validation", "test", "all"] | np.ndarray = "test",
    proposal: Proposal = "laplace",
    debias: bool = False,
    device: str = "auto",
    n_jobs: int | Literal["auto"] = "auto",
    executor: Where = "threads",
    rng: RNG = 0,
    progress: bool = True,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Compute the log likelihood of cells by importance sampling, and how far to trust it.

    ``log p(x_n)`` is estimated by ``log mean_k w_nk`` with states ``y_k = (z_k, l_k)`` drawn from a proposal
    r and weights ``w_nk = p(x_n|y_k) p(y_k) / r(y_k)``, in double precision; the network answers in that of
    its weights. It is biased low by about half the squared Monte Carlo error of the cell. Both models use the
    same random numbers.

    Parameters
    ----------
    n_samples
        Draws per cell.
    split
        Which cells to evaluate: a split, all cells, or a boolean mask, (n_obs,). Only ``"test"`` cells are
        new to the models.
    proposal
        ``"laplace"`` draws around the mode of each cell's own posterior, with the curvature there.
        ``"posterior"`` draws from the encoder's answer, as the 2019 study and scvi-tools do; where the
        encoder is off, as it is for cells with many counts, it takes the encoder's error for the model's:
        on 57 test cells of a full-length data set, 50 nats per cell.
    debias
        Take the jackknife's estimate of the bias away.
    n_jobs, executor
        As for `zinbtools.tl.fit_nb_zinb`. Threads share the restarts, or, where there are fewer than two for
        each, the cells of one after another; of counts that are not in memory, neither. The numbers are the
        same.

    Returns
    -------
    ``None``, or the copy. Sets, for each model:

    ``obs["nb_marginal_ll"]``, ``obs["zinb_marginal_ll"]``
        Log likelihood of each cell under the best restart, nats; NaN for cells that were not evaluated.
    ``obs["nb_pareto_k"]``, ``obs["zinb_pareto_k"]``
        Shape of the tail of the cell's weights. Up to 0.7, and with fewer than 2,200 draws up to
        ``1 - 1 / log10(n_samples)``, the estimate can be trusted; from 1 on its error has no bound. NaN where
        fewer than 25 draws cannot tell.
    ``uns["zinbtools"]["metrics"]``
        For each restart ``nll``, minus the mean over cells in nats per cell, with its Monte Carlo error, bias
        included; ``ess``, the effective number of draws of the median cell; ``bad_pareto_k``, the share of
        cells whose k is above 0.7.
    ``uns["zinbtools"]["nll_by_draws"]``
        A table of model, restart, split, n_draws and nll: from the first 1, 2, 4, ... draws of each cell.
        Where it still falls at the end, more draws are needed.

    Warns
    -----
    RuntimeWarning
        If more than a quarter of the cells have a k above 0.7, or more than a twentieth one above 1.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If the split has no cells.
    RuntimeError
        If a worker process died.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, JMLR 25(72).

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
    fit = Fitted.read(adata, key)
    run_on = Run.on(device, n_jobs, executor)
    cells = fit.cells(adata, split)
    restarts = [(name, restart) for name in fit.models for restart in fit.restarts(name)]
    found = evaluate_models(
        fit.data(adata, run_on.device),
        [(fit, restart, cells) for restart in restarts],
        n_samples=n_samples,
        proposal=proposal,
        rng=rng,
        n_jobs=run_on.n_jobs,
        executor=run_on.executor,
    )
    estimates = dict(zip(restarts, found, strict=True))
    target = target_of(adata, copy)
    write_estimates(
        target, fit.keys, fit, estimates, cells, split if isinstance(split, str) else "subset", debias
    )
    for name in fit.models:
        _warn_of_few_draws(name, estimates[name, fit.best_restart(name)], n_samples, proposal)
    return target if copy else None


def evaluate_models(
    data: CountData,
    wanted: Sequence[tuple[Fitted | Trained, Restart, np.ndarray]],
    *,
    n_samples: int,
    proposal: Proposal,
    rng: RNG,
    n_jobs: int,
    executor: Where,
) -> list[MarginalLikelihood]:
    """Compute the log likelihood of cells under the restarts of fits, all by the same random numbers.

    Parameters
    ----------
    wanted
        Fit, model and restart, and the cells, by index.
    """
    device, few = data.device, len(wanted) < 2 * n_jobs
    sharing = executor == "threads" and (few or not data.in_memory)  # the cells of one restart after another
    evaluate = partial(
        _evaluate,
        data=data,
        n_samples=n_samples,
        seed=integer(rng),
        proposal=proposal,
        n_threads=n_jobs if sharing else 1,
    )
    jobs = (
        (fit.load(name, device, restart), torch.as_tensor(cells, device=device))
        for fit, (name, restart), cells in wanted
    )
    n_workers = 1 if sharing else max(1, min(n_jobs, len(wanted)))
    done = run(evaluate, jobs, n_jobs=n_workers, executor=executor)
    found = dict(counting(done, len(wanted), "held-out likelihoods", "model", one))
    return [found[place] for place in range(len(wanted))]


def _evaluate(job: tuple[CountVAE, Tensor], **settings: Any) -> MarginalLikelihood:
    model, cells = job
    return marginal_log_likelihood(model, cells=cells, **settings)


def write_estimates(
    target: AnnData,
    keys: Keys,
    fit: Fitted | Trained,
    estimates: Mapping[Restart, MarginalLikelihood],
    cells: np.ndarray,
    label: str,
    debias: bool = False,
) -> None:
    """Write what `marginal_ll` does; ``label`` says which cells they are."""
    for name in fit.models:
        best = estimates[name, fit.best_restart(name)]
        for column, values in (
            (keys.marginal_ll(name), _by_cell(best, debias)),
            (keys.pareto_k(name), best.pareto_k[0].numpy(force=True)),
        ):
            everyone = np.full(target.n_obs, np.nan)
            everyone[cells] = values
            target.obs[column] = everyone
    update_metrics(target, keys, likelihood_metrics(estimates, label, debias))
    target.uns[keys.uns][NLL_BY_DRAWS.name] = pd.DataFrame(
        [
            (name, restart, label, n_draws, -float(mean[0]))
            for (name, restart), estimate in estimates.items()
            for n_draws, mean in estimate.by_draws.items()
        ],
        columns=NLL_BY_DRAWS.holds,
    )


def likelihood_metrics(
    estimates: Mapping[Restart, MarginalLikelihood], label: str, debias: bool = False
) -> Iterator[Metric]:
    """What the cells of a restart say together; ``label`` says which cells they are."""
    for (name, restart), estimate in estimates.items():
        for values in _summaries(estimate, debias):
            yield Metric(name, restart, label, *values)


def _by_cell(estimate: MarginalLikelihood, debias: bool) -> np.ndarray:
    return (estimate.debiased if debias else estimate.log_likelihood)[0].numpy(force=True)


def _summaries(estimate: MarginalLikelihood, debias: bool) -> list[tuple[str, float, float]]:
    """Summarise a restart as metrics: name, value, standard error."""
    error = error_of_mean(estimate.standard_error[0].numpy(force=True))
    return [
        ("nll", -float(_by_cell(estimate, debias).mean()), float(error)),
        ("ess", float(estimate.effective_sample_size.median()), np.nan),
        ("bad_pareto_k", float((estimate.pareto_k > GOOD_K).double().mean()), np.nan),
    ]


def _warn_of_few_draws(model: str, estimate: MarginalLikelihood, n_samples: int, proposal: Proposal) -> None:
    shares = SharesOfK.of(estimate.pareto_k.numpy(force=True), n_samples)
    if shares.trust != "bad":
        return
    remedy = f"n_samples={10 * n_samples}" if proposal == "laplace" else "proposal='laplace'"
    warn(
        f"The log likelihood under the {model_name(model)} model rests on few draws in "
        f"{shares.unreliable:.0%} of the cells (Pareto k above {GOOD_K}; above {NO_BOUND_K:g} in "
        f"{shares.without_bound:.0%}): try {remedy}.",
        RuntimeWarning,
    )
