"""`explain_zeros`: say why each gene has its zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.reading import check_anndata
from .._anndata.results import spread, storable, target_of
from .._check.arguments import checked
from .._record.keys import Keys
from .._record.parts import CAUSES_FAMILIES, CAUSES_GENES, ZERO_CAUSES, ZI_BOOTSTRAP
from .._words.answers import Call, Cause, Explanation
from .._words.count_kinds import CountKind
from ..get._fitted import Fitted, resolve_device
from ..jobs.progress import tells
from ..jobs.threads import available_threads, single_threaded
from ..stats.zero_causes import zero_causes
from ._added import says_what_it_added
from ._by_gene import asked_copies
from ._conditional import BURSTS, CallRule, check_nb, conditional_test, stored_means, write_columns
from ._copies import copies_if_known, copies_of
from ._families import family_table


@checked
@says_what_it_added
@tells
@single_threaded()
def explain_zeros(
    adata: AnnData,
    *,
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
    smallest_dropout: float = 0.1,
    counts: Literal["auto", "molecules", "reads"] = "auto",
    held_out: bool = False,
    split: Literal["train", "validation", "test", "all"] = "all",
    device: str = "auto",
    progress: bool = True,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Say why each gene has its zeros: by chance, dispersion, a covariate, copies, bursts or dropout.

    Accounts are tried in the order of their simplicity, and the first that suffices is the gene's cause:

    1. ``none``: an NB around the mean that the network expects in the state of each cell (a Poisson number
       where nothing more is needed). `zinbtools.tl.zi_scores` refuses it, or does not.
    2. ``dispersion``: an NB whose dispersion depends on the state of the cell.
    3. ``covariate``: a column of ``obs`` tells the zeros.
    4. ``amplification``, where counts are reads: the copies of the molecules do.
    5. ``bursting`` or ``dropout``, once all these are refused. A gene in bursts is Beta-Poisson, with mean
       ``mu_ng e^b``, excess relative variance ``alpha`` and a shape, which are its burst frequency and size;
       one with a dropout is a ZINB. Both have three parameters and contain
       the NB. The one that is more likely is named where the paired difference of their log likelihoods over
       its standard error over cells (Vuong 1989) is significant, at a false discovery rate of ``alpha`` over
       the genes that got here.
    6. ``cannot tell``, where it is not, with the number of cells that could tell. Below a mean of about 1 it
       is the honest answer in any data set of some thousand cells.

    Genes in bursts are not told from a dropout if they are on with a constant rate and off for long: a
    promoter that is switched by another slow step makes ZINB counts itself (Jia 2020). ``dropout`` is
    therefore to be read as "dropout, or a slow switch with a constant rate", and ``bursting`` as a
    distribution that two-state bursts make, whatever makes it.

    Of reads it is not asked for bursts: genes with a dropout beyond their copies are ``cannot tell``.
    Counts that look like molecules may be copies all the same. So where genes are zero-inflated, and it is
    not said that counts are molecules, they are asked for copies too. They are taken for reads if a molecule
    was counted twice or more and, gene by gene, an NB of copied molecules is shown not to be worse than a
    ZINB by more than a thousandth of the log likelihood. Each half of the cells is tested by genes that were
    fitted to the other half.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run, with the NB.
    alpha, negligible_dropout, smallest_dropout, counts, split
        As for `zinbtools.tl.zi_scores`.
    held_out
        Ask also which family serves the data set: every gene is fitted to the training cells as Poisson, NB,
        ZINB and Beta-Poisson around the network's means, and the test cells are evaluated under each.

    Returns
    -------
    ``None``, or the copy. Writes what `zinbtools.tl.zi_scores` writes, and sets in ``var``, missing for genes
    that were not fitted:

    ``zero_cause``
        One of the causes.
    ``zero_cause_margin``, ``zero_cause_margin_se``
        Mean over cells of the log likelihood of bursts minus that of a dropout, nats per cell, and its
        standard error; NaN for genes that need neither.

    and ``uns["zinbtools"]["zero_causes"]``: ``params``, and the tables that `zinbtools.get.zero_causes_df`
    gives, ``genes`` and with ``held_out`` also ``families``.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If the NB was not fitted, numbers are out of range or a split has fewer than two cells.

    References
    ----------
    Vuong (1989), Likelihood ratio tests for model selection and non-nested hypotheses, Econometrica 57.
    Jia (2020), Kinetic foundation of the zero-inflated negative binomial model, SIAM J Appl Math 80.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.explain_zeros(adata)
    >>> adata.var["zero_cause"].cat.categories[:3].tolist()
    ['none', 'dispersion', 'covariate']
    """
    check_anndata(adata, copy)
    rule = CallRule(alpha, negligible_dropout, smallest_dropout)
    rule.check()
    fit = Fitted.read(adata, key)
    where = resolve_device(device)
    cells = fit.cells(adata, split)
    if len(cells) < 2:
        raise ValueError(f"split {split!r} has {len(cells)} cell; a standard error needs at least 2.")
    check_nb(fit)
    are_reads = counts == "reads" or (counts == "auto" and fit.params.get("counts") == CountKind.READS)
    data = fit.data(adata, where)
    means, n_threads = stored_means(adata, fit, cells), available_threads(where)
    copies = None
    if are_reads:
        known = copies_of if counts == "reads" else copies_if_known
        copies = known(adata.obs, fit, data, cells, fit.unseen_cells(adata))
    found = conditional_test(fit, data, cells, rule, means, adata.obs, n_threads, copies, copies is None)
    naive = found
    if copies is not None:
        naive = conditional_test(fit, data, cells, rule, means, None, n_threads)
    elif counts == "auto" and not are_reads and (found["call"] == Call.ZERO_INFLATED.value).any():
        copies = asked_copies(adata.obs, fit, data, cells, fit.unseen_cells(adata), alpha, n_threads)
        if copies is not None:
            found = conditional_test(fit, data, cells, rule, means, adata.obs, n_threads, copies)
    if copies is not None:
        found["explained_by"] = by_copies(found, naive)
    families = None
    if held_out:
        train, test = (fit.cells(adata, of) for of in ("train", "test"))
        families = family_table(fit, data, train, test, alpha, n_threads)
    target = target_of(adata, copy)
    genes = fit.genes(target)
    write_columns(target, fit.keys, genes, found)
    target.uns[fit.keys.uns].pop(ZI_BOOTSTRAP.name, None)
    table = causes_table(found, target.var_names[genes], len(cells), alpha)
    params = {
        "alpha": alpha,
        "n_cells": len(cells),
        "split": split,
        "counts": "reads" if copies else "molecules",
    }
    write_causes(target, fit.keys, genes, table, params)
    if families is not None:
        target.uns[fit.keys.uns][ZERO_CAUSES.name][CAUSES_FAMILIES.name] = families
    return target if copy else None


def by_copies(found: Mapping[str, np.ndarray], naive: Mapping[str, np.ndarray]) -> np.ndarray:
    """What explains the zeros of genes of reads: copies, where only as molecules they would be called."""
    inflated = Call.ZERO_INFLATED.value
    copied = (naive["call"] == inflated) & (found["call"] != inflated)
    copied &= found["explained_by"] == Explanation.NONE.value  # others are called with one dispersion
    return np.where(copied, Explanation.AMPLIFICATION.value, found["explained_by"])


def causes_table(
    found: Mapping[str, np.ndarray], names: pd.Index, n_cells: int, alpha: float
) -> pd.DataFrame:
    """One row per gene: why it has its zeros, and what that rests on.

    ``found`` is what `conditional_test` returns.
    """
    missing = np.full(len(names), np.nan)
    of = {name: found.get(f"bursts_{name}", missing) for name in BURSTS}
    causes = zero_causes(found["call"], found["explained_by"], of["statistic"], n_cells, alpha)
    needs = np.isin(causes.cause, [Cause.BURSTING, Cause.DROPOUT, Cause.CANNOT_TELL])
    beside = (of["gain"], of["gain_se"], causes.pval, causes.pval_adj, causes.cells_needed, found["dropout"])
    bursts = (of["frequency"], of["frequency_se"], of["size"], of["size_se"])
    columns = [found["mean_count"], found["excess_zeros"], causes.cause]
    columns += [np.where(needs, values, np.nan) for values in (*beside, *bursts)]
    return pd.DataFrame(dict(zip(CAUSES_GENES.holds, (names.to_numpy(), *columns), strict=True)))


def write_causes(
    target: AnnData, keys: Keys, genes: np.ndarray, table: pd.DataFrame, params: Mapping[str, Any]
) -> None:
    """Write the causes of the fitted genes, given by index, their margins, and what was asked."""
    words = np.full(target.n_vars, None, dtype=object)
    words[genes] = table["cause"]
    target.var[keys.zero_cause] = pd.Categorical(words, categories=[cause.value for cause in Cause])
    target.var[keys.zero_cause_margin] = spread(table["margin"].to_numpy(), genes, target.n_vars)
    target.var[keys.zero_cause_margin_se] = spread(table["margin_se"].to_numpy(), genes, target.n_vars)
    target.uns[keys.uns][ZERO_CAUSES.name] = {CAUSES_GENES.name: table, "params": storable(params)}
