"""Likelihoods of cells and replicated counts of a model, in the shape that arviz reads."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import torch
from anndata import AnnData

from .._check.arguments import checked
from .._check.rng import RNG, integers, seed_sequence
from ..jobs.threads import available_threads, single_threaded
from ..model.marginal import marginal_log_likelihood
from ..model.predictive import BLOCK, Replicates
from ..stats.discrepancies import GeneStatistics, dropout_ratio
from ._fitted import Fitted, resolve_device


@checked
@single_threaded()
def inference_data(
    adata: AnnData,
    *,
    model: Literal["nb", "zinb"] = "zinb",
    split: Literal["train", "validation", "test", "all"] | np.ndarray = "test",
    n_samples: int = 100,
    device: str = "auto",
    rng: RNG = 0,
    key: str | None = None,
) -> Any:
    r"""Compute the log likelihood of each test cell, and what replicated counts look like, for arviz.

    A chain is a restart: the only draws of the network's weights that there are. The latent state of a cell
    is integrated out, so that its log likelihood is that of the whole cell; both models use the same random
    numbers. As no model has seen the test cells, the sum over them is an expected log predictive density
    itself: ``arviz.loo`` and ``arviz.waic``, which leave out cells that were fitted, by draws of a posterior,
    are not for them.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run. Needs arviz: ``pip install 'zinbtools[arviz]'``.
    split
        Which cells: a split, all cells, or a boolean mask, (n_obs,). Only ``"test"`` cells are new to the
        models.
    n_samples
        Draws of the latent state for the likelihood of each cell, and replicated data sets of each restart.

    Returns
    -------
    An ``arviz.InferenceData``, or where arviz has none (from its release 1.0 on) an ``xarray.DataTree``, with
    the groups:

    ``log_likelihood``
        ``counts``, nats, with dimensions chain (of size n_restarts), draw (of size 1) and cell. As
        `zinbtools.tl.marginal_ll` has it, for every restart.
    ``sample_stats``
        ``standard_error`` of these, Monte Carlo, nats, and ``pareto_k``, up to 0.7 where they can be trusted;
        chain, draw and cell.
    ``posterior_predictive``
        ``zero_fraction``, the share of the cells without a count, and ``mean_count``, of each gene in
        replicated counts of these cells; chain, draw (of size n_samples) and gene.
    ``observed_data``
        The same two of the counts themselves; gene.

    Raises
    ------
    ImportError
        If arviz is not installed.
    KeyError
        If there is no fit.
    ValueError
        If the model was not fitted, or the split has no cells.

    Examples
    --------
    How much better does the ZINB expect a new cell, in nats, and how sure is that over cells?

    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, n_restarts=2, progress=False)
    >>> nb, zinb = (zt.get.inference_data(adata, model=m, n_samples=10) for m in ("nb", "zinb"))
    >>> zinb.log_likelihood["counts"].shape
    (2, 1, 40)
    >>> gain = (zinb.log_likelihood["counts"] - nb.log_likelihood["counts"]).mean(("chain", "draw"))
    >>> mean, error = float(gain.mean()), float(gain.std(ddof=1)) / gain.size**0.5

    Genes with more zeros than nine in ten replicates have:

    >>> zeros = zinb.posterior_predictive["zero_fraction"].quantile(0.9, ("chain", "draw"))
    >>> bool((zinb.observed_data["zero_fraction"] > zeros).mean() <= 1)
    True
    """
    tree = _groups_of_arviz()
    fit = Fitted.read(adata, key)
    where = resolve_device(device)
    cells = fit.cells(adata, split)
    data, at = fit.data(adata, where), torch.as_tensor(cells, device=where)
    of_likelihood, of_replicates = integers(seed_sequence(rng), 2)
    fit.load(model, where)  # or its error
    restarts, n_threads = fit.restarts(model), available_threads(where)
    evaluated, replicated = [], []
    for restart in restarts:
        rebuilt = fit.load(model, where, restart)
        evaluated.append(
            marginal_log_likelihood(
                rebuilt, data, at, n_samples=n_samples, seed=of_likelihood, n_threads=n_threads
            )
        )
        draws = Replicates(rebuilt, data, at, seed=of_replicates)
        replicated.append([_of_genes(draws.draw(number).counts) for number in range(n_samples)])
    blocks = (
        GeneStatistics.from_counts(batch.dense().numpy(force=True)) for batch in data.batches(at, BLOCK)
    )
    observed = _of_genes(reduce(add, blocks))
    by_cell = {"chain": restarts, "draw": [0], "cell": adata.obs_names[cells].to_numpy(dtype=str)}
    genes = {"gene": adata.var_names[fit.genes(adata)].to_numpy(dtype=str)}
    by_gene = {"chain": restarts, "draw": np.arange(n_samples), **genes}

    def of_cells(name: str) -> np.ndarray:
        return np.stack([getattr(found, name).numpy(force=True) for found in evaluated])

    return tree(
        {
            "log_likelihood": ({"counts": of_cells("log_likelihood")}, by_cell),
            "sample_stats": ({name: of_cells(name) for name in ("standard_error", "pareto_k")}, by_cell),
            "posterior_predictive": (
                {name: np.array([[draw[name] for draw in of] for of in replicated]) for name in observed},
                by_gene,
            ),
            "observed_data": (observed, genes),
        }
    )


def _of_genes(statistics: GeneStatistics) -> dict[str, np.ndarray]:
    return {"zero_fraction": dropout_ratio(statistics), "mean_count": statistics.mean}


def _groups_of_arviz() -> Any:
    """Return what makes arviz's object of groups, each given as variables and coordinates in their order."""
    try:
        import arviz
        import xarray
    except ImportError as error:
        raise ImportError("inference_data needs arviz: pip install 'zinbtools[arviz]'.") from error

    def tree(groups: dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]]) -> Any:
        made = {
            name: xarray.Dataset({v: (list(at), x) for v, x in values.items()}, coords=at)
            for name, (values, at) in groups.items()
        }
        if arviz.__version__.startswith("0."):
            return arviz.InferenceData(**made)
        return xarray.DataTree.from_dict(made)

    return tree
