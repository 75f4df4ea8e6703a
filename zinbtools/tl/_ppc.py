"""`ppc`: whether the models produce counts like the ones observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .._anndata import check_anndata, writable
from .._fitted import Fitted, resolve_device
from .._rng import RNG, integer
from .._threads import single_threaded
from ..model.data import CountData
from ..model.predictive import predictive_statistics
from ..model.vae import CountVAE
from ..stats.discrepancies import CHECKS, Check, GeneStatistics, ks_distance
from ._metrics import Metric, update_metrics


@single_threaded()
def ppc(
    adata: AnnData,
    *,
    n_samples: int = 100,
    checks: Sequence[str] = ("dropout_ratio", "zeros_to_expression", "cv"),
    split: Literal["train", "validation", "test", "all"] = "test",
    device: str = "auto",
    rng: RNG = 0,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Posterior predictive checks: a number per gene from replicated counts against the same from the data.

    A draw takes z and the library size of each cell from the posterior, then counts from the decoder. The
    checks follow from sums over cells, so that draws stream through and nothing but genes x checks is kept.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run.
    n_samples
        Draws over which each predicted number is averaged.
    checks
        Names in `zinbtools.stats.discrepancies.CHECKS`: share of zeros, zeros to expression, coefficient of
        variation.
    split
        Which cells; the study used the training cells.
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
    ``None``, or the copy. Sets:

    ``uns["zinbtools"]["ppc"]``
        ``genes``: a table of gene, check, observed value and mean over draws of each model's best restart
        (NaN where a check is undefined); ``n_samples``; ``split``.
    ``uns["zinbtools"]["metrics"]``
        Rows ``ks_<check>`` per restart: Kolmogorov-Smirnov distance over genes between observed values and
        means over draws, as in the study. The draws of a perfect model do not reach 0.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If a check is not known or the split has no cells.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> zt.tl.ppc(adata, n_samples=5)
    >>> zt.get.ppc_df(adata).shape
    (300, 5)
    """
    check_anndata(adata, copy)
    names = [checks] if isinstance(checks, str) else list(checks)
    if not names or set(names) - set(CHECKS):
        raise ValueError(f"checks must be some of {', '.join(map(repr, CHECKS))}, found {checks!r}.")
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, found {n_samples}.")
    fit = Fitted.read(adata, key)
    where = resolve_device(device)
    cells = fit.cells(adata, split)
    data = fit.data(adata, where)
    chosen = [CHECKS[name] for name in names]
    observed = _evaluate(chosen, data.statistics(cells))
    seed = integer(rng)
    rows: list[Metric] = []
    columns = {"observed": observed}
    for name in fit.models:
        for restart in fit.restarts(name):
            predicted = _predict(fit.load(name, where, restart), data, cells, chosen, n_samples, seed)
            rows += [
                Metric(name, restart, split, f"ks_{check.name}", ks_distance(a, b))
                for check, a, b in zip(chosen, observed, predicted, strict=True)
            ]
            if restart == fit.best_restart(name):
                columns[name] = predicted
    genes = adata.var_names[fit.genes(adata)].to_numpy()
    table = pd.DataFrame(
        {
            "gene": np.tile(genes, len(chosen)),
            "check": np.repeat([check.name for check in chosen], len(genes)),
        }
        | {name: values.ravel() for name, values in columns.items()}
    )
    target = writable(adata, copy)
    update_metrics(target, fit.keys, rows)
    target.uns[fit.keys.uns]["ppc"] = {"genes": table, "n_samples": n_samples, "split": split}
    return target if copy else None


def _evaluate(checks: Sequence[Check], statistics: GeneStatistics) -> np.ndarray:
    """Values of the checks, (n_checks, n_genes)."""
    return np.stack([check(statistics) for check in checks])


def _predict(
    model: CountVAE, data: CountData, cells: np.ndarray, checks: Sequence[Check], n_samples: int, seed: int
) -> np.ndarray:
    """Mean of the checks over those draws for which they are defined, (n_checks, n_genes)."""
    total = np.zeros((len(checks), data.n_genes))
    n_defined = np.zeros_like(total)
    everyone = torch.as_tensor(cells, device=data.device)
    for statistics in predictive_statistics(model, data, everyone, n_samples=n_samples, seed=seed):
        values = _evaluate(checks, statistics)
        total += np.nan_to_num(values, nan=0.0)
        n_defined += ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return total / n_defined
