"""Tables of what `tl.tune` tried and found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._check.arguments import checked
from .._record.parts import BEST, SUMMARY, TRIALS
from .._record.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@checked
def tuning_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Tabulate every trial, one row per trial and model.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.tune` was run.

    Returns
    -------
    Columns ``trial``, ``model``, ``status`` (``ok``, ``pruned`` or ``failed``), ``trial_status`` (the worst
    among the models that share the setting), ``loss`` (what hyperopt was told: the mean of their NLLs, minus
    the ELBO in place of that of a model that was pruned), ``nll`` with its Monte Carlo error ``se`` and
    ``elbo`` (nats per cell, on validation cells), ``n_epochs``, one column per setting, and the ``message``
    of a training that failed.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.tune(adata, max_evals=2, max_epochs=3, n_samples=5, models="nb", progress=False)
    >>> zt.get.tuning_df(adata).columns[:5].tolist()
    ['trial', 'model', 'status', 'trial_status', 'loss']
    """
    return Record.read(adata, key)[TRIALS].copy()


@checked
def tuning_summary_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Tabulate the best setting against the default, one row per model.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.tune` was run.

    Returns
    -------
    Columns ``model``, ``trial`` (the best; -1 where no trial was better than the default), ``default_nll``
    and ``best_nll`` (nats per cell, on validation cells), ``gain`` (their difference, positive: better than
    the default) with its standard error over cells ``gain_se``, and one column per setting.

    The gain is that of the best of many on the cells that chose it, and so promises too much.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.tune(adata, max_evals=2, max_epochs=3, n_samples=5, models="nb", progress=False)
    >>> zt.get.tuning_summary_df(adata).columns[:4].tolist()
    ['model', 'trial', 'default_nll', 'best_nll']
    """
    record = Record.read(adata, key)
    table, best = record[SUMMARY].copy(), record[BEST]
    for setting in dict.fromkeys(name for settings in best.values() for name in settings):
        table[setting] = [best[model].get(setting) for model in table["model"]]
    return table
