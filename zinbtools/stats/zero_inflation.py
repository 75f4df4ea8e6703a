"""Test whether a gene's dropout probability is above zero, and whether its cells would have shown it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import special

from .._words.answers import Call, GeneClass
from .count_models import CountFits, Family

Floats = NDArray[np.float64]
Strings = NDArray[np.object_]

FEWEST_COUNTS = 20  # cells with a count that a call takes, for each rate that is fitted


def likelihood_ratio(fits: CountFits, simpler: Family, richer: Family) -> Floats:
    """Compute twice the difference of the log likelihoods, nats, (G,); at least 0."""
    ll = fits.log_likelihood
    return np.maximum(2.0 * (ll[:, fits.of(richer)] - ll[:, fits.of(simpler)]), 0.0)


def dropout_likelihood_ratio(fits: CountFits) -> Floats:
    """Compute twice what a dropout above the negligible one adds to the log likelihood, nats, (G,).

    It is 0 where the estimate is no larger than that.
    """
    return np.maximum(2.0 * (fits.log_likelihood[:, fits.of("zinb")] - fits.null_log_likelihood), 0.0)


def boundary_pval(ratio: Floats) -> Floats:
    """Return the p value of a likelihood ratio for one parameter that the null keeps to one side of a value.

    With the parameter at that value the ratio is 0 half of the time and chi-squared with one degree of
    freedom otherwise, so that the p value is half of the latter's, and 1 for a ratio of 0.

    Examples
    --------
    >>> boundary_pval(np.array([0.0, 2.706, np.nan])).round(3)
    array([1.  , 0.05,  nan])
    """
    return np.where(ratio <= 1e-9, 1.0, 0.5 * special.chdtrc(1, ratio)) + 0.0 * ratio


def adjusted_pval(pval: Floats) -> Floats:
    """Adjust by Benjamini and Hochberg among the p values that are not NaN.

    Examples
    --------
    >>> adjusted_pval(np.array([0.01, np.nan, 0.04])).round(3)
    array([0.02,  nan, 0.04])
    """
    known = ~np.isnan(pval)
    adjusted = np.full(len(pval), np.nan)
    if known.any():
        adjusted[known] = scipy.stats.false_discovery_control(pval[known], method="bh")
    return adjusted


def dropout_pval_adj(pval: Floats, n_counts: NDArray[np.number], n_rates: int = 1) -> Floats:
    """Adjust the p values of a dropout among the genes that can show one; NaN for the others.

    A gene is tested only if at least 20 cells (``FEWEST_COUNTS``) have a count of it, for each rate that is
    fitted. How many zeros an NB makes is read off the spread of its positive counts, and of a few counts this
    is not known: an NB follows one or two of them exactly, and the null of `boundary_pval` does not hold. Of
    NB genes without dropout that are seen in 1, 2, 3 cells, 30, 16, 13 % have a p value of 0.05 or less; from
    20 cells on 5 %. A gene that a few cells have much of may be on in those only.

    Which genes are left out depends on the number of cells only, and given that number a p value that is
    right is uniform, so that the others are adjusted for one another and not for these (independent
    filtering: Bourgon, Gentleman and Huber 2010).

    Parameters
    ----------
    pval
        Of each gene, (G,).
    n_counts
        In how many cells each has a count, (G,).
    n_rates
        Rates that are fitted to each: 1, or one for each batch and group.

    Examples
    --------
    >>> dropout_pval_adj(np.array([0.01, 0.04, 0.001]), np.array([100, 20, 19])).round(3)
    array([0.02, 0.04,  nan])
    """
    return adjusted_pval(np.where(n_counts >= FEWEST_COUNTS * n_rates, pval, np.nan))


def threshold(adjusted: Floats, alpha: float) -> float:
    """Return the largest p value that Benjamini and Hochberg call, or would call if it were the only one."""
    known = adjusted[~np.isnan(adjusted)]
    return alpha * max(int((known <= alpha).sum()), 1) / max(len(known), 1)


def power(information: Floats, dropout: float, level: float, negligible: float = 0.0) -> Floats:
    """Compute the probability that the test at this level finds a dropout probability of this size, (G,).

    ``Phi((pi - pi_0) (1 - pi) sqrt(I) - z)``, with ``pi_0`` the negligible one, ``I`` the information on pi
    at no dropout that is left once scale and dispersion are estimated (``CountFits.information``), and z the
    normal quantile of the level. The factor ``1 - pi`` stands for the counts that are lost; with it the power
    is right to about a tenth around a half.

    Examples
    --------
    >>> power(np.array([0.0, 600.0]), 0.1, 0.05).round(2)
    array([0.05, 0.71])
    """
    shift = (dropout - negligible) * (1 - dropout) * np.sqrt(information)
    return scipy.stats.norm.sf(scipy.stats.norm.isf(level) - shift)


def of_like_mean(mean: Floats, size: int = 100) -> Iterator[NDArray[np.int_]]:
    """Yield indices of genes in groups of at least ``size`` neighbours by mean (or all of them).

    Examples
    --------
    >>> [group.tolist() for group in of_like_mean(np.array([3.0, 1.0, 4.0, 2.0]), size=2)]
    [[1, 3], [0, 2]]
    """
    yield from np.array_split(np.argsort(mean, kind="stable"), max(len(mean) // size, 1))


def bootstrap_pval(ratio: Floats, null: Floats, mean: Floats) -> Floats:
    """Compute the share of null likelihood ratios that are at least as large, ``(1 + #) / (1 + N)``, (G,).

    The N ratios are those of all twins and of the genes of like mean (`of_like_mean`). One gene's own ratios
    would take thousands of twins. Those of all genes together would be those of no gene: the ratio of a
    sparse gene is nearly always about 0, so that its null would lend the others p values that are too small.

    No p value is below ``1 / (1 + N)``: with 19 ratios it is no evidence beyond .05, whatever the gene's own.

    Parameters
    ----------
    ratio
        Likelihood ratio of each gene, (G,); NaN gives NaN.
    null
        The same of data that are known to have no zero inflation, (n_twins, G); NaN is left out.
    mean
        Mean count of each gene, (G,).

    Examples
    --------
    >>> bootstrap_pval(np.array([0.0, 3.0]), np.array([[0.0, 4.0], [0.0, 1.0]]), np.array([1.0, 2.0]))
    array([1. , 0.4])
    """
    pval = np.full(len(ratio), np.nan)
    for group in of_like_mean(mean):
        known = np.sort(null[:, group][~np.isnan(null[:, group])])
        n_larger = len(known) - np.searchsorted(known, ratio[group])
        pval[group] = (1 + n_larger) / (1 + len(known)) + 0.0 * ratio[group]
    return pval


def call(adjusted: Floats, highest: Floats, alpha: float, negligible: float) -> Strings:
    """Choose a `Call` for each gene, from where its dropout probability may lie.

    Zero-inflated where it is above the ``negligible`` one, by the adjusted p value; negligible where the
    upper end of its interval, ``highest``, is not; undecided otherwise, and where the gene was not tested.
    So two data sets of the same kind contradict each other only where one of the two is wrong.

    Examples
    --------
    >>> call(np.array([0.01, 0.9, 0.2, np.nan]), np.array([0.3, 0.008, 0.1, 0.0]), 0.05, 0.01).tolist()
    ['zero-inflated', 'negligible', 'undecided', 'undecided']
    """
    calls = np.full(len(adjusted), Call.UNDECIDED.value, dtype=object)
    calls[~np.isnan(adjusted) & (highest <= negligible)] = Call.NEGLIGIBLE.value
    calls[adjusted <= alpha] = Call.ZERO_INFLATED.value
    return calls


def excess_zeros(fits: CountFits, n_zeros: Floats) -> Floats:
    """Compute the share of zeros that the NB part of a gene's ZINB does not make, (G,); NaN without zeros."""
    lost = fits.lost[:, fits.of("zinb")]
    return np.divide(lost, n_zeros, out=np.full(len(lost), np.nan), where=n_zeros > 0).clip(max=1.0)


def simplest(
    fits: CountFits, alpha: float, n_counts: NDArray[np.number]
) -> tuple[Strings, dict[Literal["nb", "zip", "zinb"], Floats]]:
    """Choose the simplest family that suffices for each gene, and return the adjusted p values that say so.

    The NB against the Poisson, the ZIP against the Poisson and the ZINB against the NB (or against one whose
    dropout probability is at most the negligible one, if the fits were made with one). A gene has the family
    ``zinb`` where the last is significant, ``nb`` where the first is, and ``poisson`` otherwise; where no NB
    was fitted, ``zip`` or ``poisson``. A gene with counts in few of the cells, ``n_counts``, (G,), is never
    ``zip`` or ``zinb``: `dropout_pval_adj`.
    """
    has_nb, has_zinb, has_zip = (
        not np.isnan(fits.log_likelihood[:, fits.of(f)]).all() for f in ("nb", "zinb", "zip")
    )
    n_rates = fits.coefficients.shape[-1]
    tests: dict[Literal["nb", "zip", "zinb"], Floats] = {}
    if has_nb:
        tests["nb"] = adjusted_pval(boundary_pval(likelihood_ratio(fits, "poisson", "nb")))
    if has_zip:
        pval = boundary_pval(likelihood_ratio(fits, "poisson", "zip"))
        tests["zip"] = dropout_pval_adj(pval, n_counts, n_rates)
    if has_zinb:
        tests["zinb"] = dropout_pval_adj(boundary_pval(dropout_likelihood_ratio(fits)), n_counts, n_rates)
    family = np.full(len(fits), "poisson", dtype=object)
    order: tuple[Literal["nb", "zip", "zinb"], ...] = ("nb", "zinb") if has_nb else ("zip",)
    for name in order:
        if name in tests:
            family[np.nan_to_num(tests[name], nan=1.0) <= alpha] = name
    return family, tests


def classes(family: Strings, calls: Strings, explained: NDArray[np.bool_]) -> Strings:
    """Choose a `GeneClass` from the simplest family by library size only and the call given the cell state.

    The state explains a dropout where the interval given it ends below what there is by library size only,
    ``explained``, (G,).

    Examples
    --------
    >>> calls = np.array(["undecided", "undecided"], object)
    >>> classes(np.array(["nb", "zinb"], object), calls, np.array([False, True]))
    array(['NB suffices', 'zero-inflated, explained by cell state'], dtype=object)
    """
    found = np.full(len(family), GeneClass.POISSON.value, dtype=object)
    found[family == "nb"] = GeneClass.NB.value
    marginally = np.isin(family, ["zip", "zinb"])
    found[marginally] = GeneClass.UNDECIDED.value
    found[marginally & (explained | (calls == Call.NEGLIGIBLE))] = GeneClass.EXPLAINED.value
    found[calls == Call.ZERO_INFLATED] = GeneClass.ZERO_INFLATED.value
    return found
