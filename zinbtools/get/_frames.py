"""Tables: what the verbs wrote, ready for pandas, for a CSV or for a picture."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._anndata.reading import gene_names, read_matrix
from .._check.arguments import checked
from .._record.keys import ZI_COLUMNS, Keys
from .._record.parts import HISTORY, METRICS, ZERO_TEST
from .._record.record import Record
from ..stats.discrepancies import GeneStatistics
from ..stats.zero_inflation import classes
from ._layers import layers_of
from ._settings import FitSettings

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

# Below this a dropout probability or a mean is as good as zero, and its logarithm says nothing.
SMALLEST = 1e-12
KINDS_OF_ZERO = ("limited sensitivity", "dropout")


@checked
def metrics_df(adata: AnnData, *, best: bool = False, key: str | None = None) -> pd.DataFrame:
    """Tabulate every number by which the models are judged, one a row.

    Parameters
    ----------
    best
        Only the restart of each model that was best on validation, from which the layers come.

    Returns
    -------
    Columns ``model``, ``restart``, ``split``, ``metric``, ``value`` and ``se`` (NaN where a metric has
    no error). ``split`` is also ``"all"`` or, after a comparison by folds, ``"folds"``: every cell under the
    model of the fold that tests it. ``elbo`` and ``nll`` are in nats per cell; ``nll`` and the ``ks_*`` rows
    are there after :func:`~zinbtools.tl.marginal_ll` and :func:`~zinbtools.tl.ppc`. What was evaluated last
    comes last.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.get.metrics_df(adata)[["model", "split", "metric"]].tail(2)
      model split        metric
    5  zinb  test          elbo
    6  zinb   all  mean_dropout
    """
    record = Record.read(adata, key)
    table = record[METRICS].copy()
    if not best:
        return table
    is_best = table["restart"] == table["model"].map({m: record.best_restart(m) for m in record.models})
    return table[is_best].reset_index(drop=True)


def compared_rows(metrics: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of a metric by which models are compared: of all folds, else of test cells, else of the last."""
    rows = metrics[metrics["metric"] == metric]
    splits = rows["split"].astype(str)
    there = [name for name in ("folds", "test") if (splits == name).any()] or splits.tolist()[-1:]
    return rows[splits.isin(there[:1])]


@checked
def history_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Tabulate the course of the training, one row per model, restart and epoch.

    Returns
    -------
    Columns ``model``, ``restart``, ``epoch``, ``train_elbo``, ``validation_elbo`` (nats per cell, higher
    is better) and ``learning_rate``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.get.history_df(adata).columns[:4].tolist()
    ['model', 'restart', 'epoch', 'train_elbo']
    """
    return Record.read(adata, key)[HISTORY].copy()


@checked
def dropout_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Tabulate the observed and the expected share of zeros of each fitted gene.

    Returns
    -------
    Indexed by gene: ``mean_count`` (counts per cell), ``observed_zero_fraction`` and, for each model
    fitted, ``nb_zero_fraction``, ``zinb_zero_fraction``: the probability of a zero averaged over all
    cells. Genes that were masked out of the fit are left out. The counts are read where the fit read them.

    Raises
    ------
    KeyError
        If there is no fit under ``key``, or the layer of its counts is no longer there.
    ValueError
        If there are other numbers than those that were fitted.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.get.dropout_df(adata).columns.tolist()
    ['mean_count', 'observed_zero_fraction', 'nb_zero_fraction', 'zinb_zero_fraction']
    """
    record = Record.read(adata, key)
    counts = FitSettings.restored(record).counts(adata, record.keys)
    sums = reduce(add, map(GeneStatistics.from_counts, counts.blocks()))
    frame = pd.DataFrame(
        {"mean_count": sums.mean, "observed_zero_fraction": sums.n_zeros / sums.n_cells},
        index=_genes(adata)[counts.genes],
    )
    for model in record.models:
        expected = record.column("var", record.keys.zero_fraction(model), "fit_nb_zinb")
        frame[f"{model}_zero_fraction"] = expected[counts.genes]
    return frame.iloc[np.argsort(counts.genes)].dropna()


@checked
def zero_test_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Tabulate what regressions on the library size say of each gene.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.zero_test` was run.

    Returns
    -------
    Indexed by gene: ``mean_count``, ``observed_zero_fraction``; ``family``, the simplest that suffices
    ("none" for a gene without a count); ``score`` and ``score_se`` (gain of the ZINB over the NB, nats per
    cell), ``pval``, ``excess_zeros`` (share of the gene's zeros); adjusted p values of the NB and ZIP against
    the Poisson and of the ZINB against the NB, the last two NaN for genes with a count in too few cells to
    be tested; and for each family ``log_likelihood``, ``aic``, ``bic``
    (nats, all cells), ``zero_fraction`` (expected), ``inverse_dispersion`` and ``dropout``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.gamma_poisson(n_obs=500, n_vars=20)
    >>> zt.tl.zero_test(adata)
    >>> zt.get.zero_test_df(adata)["zinb_log_likelihood"].ge(
    ...     zt.get.zero_test_df(adata)["nb_log_likelihood"]
    ... ).all()
    np.True_
    """
    table: pd.DataFrame = Record.read(adata, key)[ZERO_TEST]
    return table.set_index("gene")


@checked
def zi_genes_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Tabulate all evidence on the zero inflation of each gene, the largest gain first.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.zi_scores` was run.

    Returns
    -------
    Indexed by gene: ``score`` and ``score_se`` (nats per cell, POSITIVE where the ZINB accounts better for
    the gene); after the method "conditional" of :func:`~zinbtools.tl.zi_scores` also ``pval``,
    ``pval_adj``, ``dropout``, ``dropout_low``, ``dropout_high``, ``excess_zeros``, ``power``, ``call``,
    ``explained_by`` and ``on_in``, and with ``n_bootstrap`` also ``pval_bootstrap``, which is not below
    ``1 / (1 + N)`` with N ratios of twins (with 19 it is no evidence
    beyond .05); the columns of :func:`dropout_df`;
    ``mean_dropout``, the ZINB network's dropout probability averaged over cells, where one was fitted; and
    where :func:`~zinbtools.tl.zero_test` was run, its ``family``, ``marginal_score`` and
    ``marginal_pval_adj``, and ``class``, which `zinbtools.stats.zero_inflation.GeneClass` the two tests
    together make of the gene; where :func:`~zinbtools.tl.explain_zeros` was run, ``class`` is the cause of
    its zeros instead.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.zi_scores(adata)
    >>> zt.get.zi_genes_df(adata)["score"].is_monotonic_decreasing
    True
    """
    record, keys = Record.read(adata, key), Keys(key)
    scores = pd.DataFrame(
        {
            "score": record.column("var", keys.score, "zi_scores"),
            "score_se": record.column("var", keys.score_se, "zi_scores"),
        },
        index=_genes(adata),
    )
    for what in ZI_COLUMNS:
        if keys.zi(what) in adata.var:
            scores[what] = adata.var[keys.zi(what)].to_numpy()
    if keys.mean_dropout() in adata.var:
        scores["mean_dropout"] = adata.var[keys.mean_dropout()].to_numpy()
    frame = scores.join(dropout_df(adata, key=key), how="inner")
    if ZERO_TEST in record and "zinb_pval_adj" in (marginal := zero_test_df(adata, key=key)):
        marginal = marginal.reindex(frame.index)
        frame["family"] = marginal["family"]
        frame["marginal_score"] = marginal["score"]
        frame["marginal_pval_adj"] = marginal["zinb_pval_adj"]
        if "call" in frame:
            calls = frame["call"].astype(object).to_numpy()
            highest = frame.get("dropout_high", pd.Series(np.nan, index=frame.index))
            explained = (highest < marginal["zinb_dropout"]).to_numpy()
            frame["class"] = classes(marginal["family"].astype(object).to_numpy(), calls, explained)
    if keys.zero_cause in adata.var:
        frame["class"] = adata.var[keys.zero_cause].astype(object).reindex(frame.index)
    return frame.sort_values("score", ascending=False, kind="stable")


@checked
def zero_study_df(
    adata: AnnData, *, total: bool = False, posterior: bool = False, key: str | None = None
) -> pd.DataFrame:
    """Tabulate dropout probability and NB mean of every zero, and what kind of zero it is.

    Parameters
    ----------
    total
        Add ``log10_total``, the probability of a zero for whatever reason, by the NB's formula:
        ``pi + (1 - pi) (theta / (theta + mu))^theta``, averaged over posterior draws. It is computed from the
        weights, 5 million entries in some seconds.
    posterior
        Add ``posterior_dropout``, the probability that the zero is a dropout, from the weights too.

    Returns
    -------
    One row per zero entry of the fitted genes: ``log10_dropout`` and ``log10_mean`` (of the ZINB, float32;
    probabilities and means below 1e-12 count as 1e-12) and ``kind``: "limited sensitivity" where the true
    count is zero too, "dropout" where it is not, or "zero" where the truth, which the simulators write into
    ``layers["true_counts"]``, is not known.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If the fit has no ZINB, or there are other numbers than those that were fitted.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.get.zero_study_df(adata)["kind"].cat.categories.tolist()
    ['limited sensitivity', 'dropout']
    """
    record, keys = Record.read(adata, key), Keys(key)
    mean, dropout = layers_of(adata, "zinb", ["mean", "dropout"], None, key)
    counts = FitSettings.restored(record).counts(adata, keys)
    zero = np.zeros(adata.shape, dtype=bool)
    zero[:, counts.genes] = np.concatenate([_is_zero(block) for block in counts.blocks()])
    zero &= np.isfinite(mean)
    kinds: tuple[str, ...]
    if "true_counts" in adata.layers:
        kinds, code = KINDS_OF_ZERO, ~_is_zero(read_matrix(adata, "true_counts"))[zero]
    else:
        kinds, code = ("zero",), np.zeros(int(zero.sum()), dtype=bool)
    frame = pd.DataFrame(
        {
            "log10_dropout": np.log10(np.maximum(dropout[zero], SMALLEST)),
            "log10_mean": np.log10(np.maximum(mean[zero], SMALLEST)),
            "kind": pd.Categorical.from_codes(code.astype(np.int8), dtype=pd.CategoricalDtype(list(kinds))),
        }
    )
    if total or posterior:
        from ._model import zero_probabilities  # it loads torch, the rest does not need it

        of_zero, of_dropout = (probability.to_numpy()[zero] for probability in zero_probabilities(adata, key))
        if total:
            frame["log10_total"] = np.log10(np.maximum(of_zero, SMALLEST))
        if posterior:
            frame["posterior_dropout"] = of_dropout
    return frame


def _genes(adata: AnnData) -> pd.Index:
    return gene_names(adata).rename("gene")


def _is_zero(counts: sparse.csr_array) -> NDArray[np.bool_]:
    """Return a dense n_obs x n_vars mask of the zeros; an explicitly stored zero is a zero."""
    zero = np.ones(counts.shape, dtype=bool)
    zero[counts.nonzero()] = False
    return zero
