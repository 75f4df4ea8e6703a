"""Compiled maximum likelihood for genes: the fits of all families, and the comparison of NB with ZINB."""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np

from .double import compiled, merged
from .gene_climb import TOLERANCE, factorise, maximise, put, solve
from .gene_compare import compare
from .gene_counts import Gene, gather
from .gene_interval import About, dropout_interval
from .gene_likelihood import (
    NB,
    POISSON,
    ZINB,
    ZIP,
    expected_zeros,
    minus_log_zero,
    n_coefficients,
)
from .gene_reads import REACH, Amplification


class Table(NamedTuple):
    """Covariates of the cells, which are sorted by their row.

    Attributes
    ----------
    values
        Covariates of each row, (n_rows, p).
    inverse
        Pseudo-inverse of ``values``, (p, n_rows).
    starts
        Where each row's cells start, (n_rows + 1,).
    rows
        The row of each cell, (n_cells,).
    """

    values: np.ndarray
    inverse: np.ndarray
    starts: np.ndarray
    rows: np.ndarray


class Output(NamedTuple):
    """What is found, one entry a gene, and within it one a family: see `stats.count_models.CountFits`."""

    log_likelihood: np.ndarray
    converged: np.ndarray
    estimate: np.ndarray
    error: np.ndarray
    zeros: np.ndarray
    lost: np.ndarray
    gain: np.ndarray
    information: np.ndarray
    null_log_likelihood: np.ndarray
    interval: np.ndarray


class Question(NamedTuple):
    """What is asked of each gene.

    Attributes
    ----------
    families
        Which to fit, (4,) boolean.
    negligible
        Dropout probability that the null may have.
    fall
        Nats by which the likelihood is below its maximum at the ends of the interval of the dropout
        probability; 0 for none.
    """

    families: np.ndarray
    negligible: float
    fall: float


class Columns(NamedTuple):
    """Counts of genes in compressed columns: where each gene starts, cells, counts."""

    starts: np.ndarray
    cells: np.ndarray
    counts: np.ndarray


class Offsets(NamedTuple):
    """What is given of each cell, (n_genes, n_cells), or (1, n_cells) where it is the same for all genes.

    Attributes
    ----------
    means
        What the means are proportional to.
    dispersions
        What the dispersions are proportional to.
    odds
        What the odds of a dropout are proportional to.
    """

    means: np.ndarray
    dispersions: np.ndarray
    odds: np.ndarray


class _Start(NamedTuple):
    """Where a climb starts: coefficients, dispersion, dropout probability."""

    b: np.ndarray
    alpha: float
    share: float


_WITHOUT_DROPOUT = Question(np.array([True, True, False, False]), 0.0, 0.0)
_LAYOUTS = 5  # of sums over molecules, each for the log factor of copies that the last one gave
_FAR = REACH - 0.05  # a log factor from that of its sums


@compiled
def fit_block(
    columns: Columns,
    offsets: Offsets,
    amplification: Amplification | None,
    table: Table,
    question: Question,
    output: Output,
) -> None:
    """Fit families to some genes."""
    p, rows = table.values.shape[1], table.rows
    for g in range(len(columns.starts) - 1):
        stored = slice(columns.starts[g], columns.starts[g + 1])
        mean = offsets.means[g if len(offsets.means) > 1 else 0]
        dispersion = offsets.dispersions[g if len(offsets.dispersions) > 1 else 0]
        odds = offsets.odds[g if len(offsets.odds) > 1 else 0]
        cells, counts, starts = columns.cells[stored], columns.counts[stored].astype(np.float64), table.starts
        if len(cells) == 0:
            continue
        layout, n_more = 0.0, 0 if amplification is None else _LAYOUTS
        settled = n_more == 0
        while True:
            gene = gather(mean, dispersion, odds, amplification, rows, cells, counts, starts, layout)
            _fit_gene(gene, table, layout, question if settled else _WITHOUT_DROPOUT, g, output)
            family = ZINB if settled and question.families[ZINB] else NB
            if n_more == 0 or not question.families[family]:
                break
            far = output.estimate[g, family, p] - layout
            if settled:
                if abs(far) <= _FAR:
                    break
                n_more = 0  # once more, between the two
                layout += 0.5 * far
            else:
                n_more -= 1
                settled = n_more == 1 or abs(far) < 0.5 * _FAR
                layout += far


@merged
def _fit_gene(
    gene: Gene, table: Table, log_factor: float, question: Question, g: int, output: Output
) -> None:
    """Fit all families to one gene: each starts where simpler ones ended, and is never below them.

    The log factor of its copies is looked for from ``log_factor`` on.
    """
    p, wanted = n_coefficients(gene, table.values), question.families
    value, estimate = output.log_likelihood[g], output.estimate[g]
    at = np.full(p, log_factor)
    put(_first_guess(gene, table), at)
    for family in range(4):
        value[family], estimate[family, p], estimate[family, p + 1] = -np.inf, -np.inf, -np.inf
        if not wanted[family]:
            continue
        if family == POISSON:
            _try(gene, table, family, _Start(at, -1.0, 0.0), -np.inf, g, output)
        elif family == NB:
            put(estimate[POISSON, :p], at)
            alpha = _moment(gene, table, at[: table.values.shape[1]])
            _try(gene, table, family, _Start(at, alpha, 0.0), -np.inf, g, output)
        else:
            below = POISSON if family == ZIP else NB
            put(estimate[below, :p], at)
            alpha = np.exp(estimate[below, p])
            n = len(gene.mean) + len(gene.zero_mean)
            if _score(gene, table.values, estimate[below]) > 0.0:
                expected = output.zeros[g, below]
                excess = (len(gene.zero_mean) - expected) / max(n - expected, 1.0)
                share = min(max(excess, 0.02), 0.9)
            else:  # the maximum without inflation is one of the mixture too: look for another far away
                share = min(max(0.9 * len(gene.zero_mean) / n, 0.02), 0.95)
                alpha *= 0.2
            _try(gene, table, family, _Start(at, alpha, share), value[below], g, output)
        for simpler in (POISSON, NB, ZIP):
            nested = simpler < family and (simpler == POISSON or family == ZINB)
            if nested and wanted[simpler] and value[simpler] >= value[family]:
                value[family] = value[simpler]
                put(estimate[simpler], estimate[family])
                output.error[g, family, p:] = np.nan
                put(output.error[g, simpler, :p], output.error[g, family])
        found = expected_zeros(gene, table.values, estimate[family])
        output.zeros[g, family], output.lost[g, family] = found
    if wanted[NB] and wanted[ZINB]:
        nb, zinb, gain = estimate[NB], estimate[ZINB], output.gain[g]
        output.information[g] = compare(gene, table.values, nb, zinb, gain)
        output.null_log_likelihood[g] = _negligible(gene, table, question.negligible, value, estimate)
        if question.fall > 0.0:
            about = About(output.error[g, ZINB, -1], output.information[g])
            ends = dropout_interval(gene, table.values, value, estimate, about, question.fall)
            output.interval[g, 0], output.interval[g, 1] = ends


@merged
def _negligible(
    gene: Gene, table: Table, negligible: float, value: np.ndarray, estimate: np.ndarray
) -> float:
    """Find the highest log likelihood of a ZINB whose dropout probability is at most ``negligible``."""
    logit = log(negligible / (1.0 - negligible)) if negligible > 0.0 else -np.inf
    if estimate[ZINB, -1] <= logit:
        return value[ZINB]
    highest = value[NB]
    if negligible > 0.0:
        d = estimate.shape[1]
        hessian = np.empty((d, d))
        for start in (ZINB, NB):
            at = estimate[start].copy()
            at[-2] = max(at[-2], log(1e-4))
            at[-1] = logit
            height, _ = maximise(gene, table.values, np.int64(ZINB), at, hessian, highest, d - 1, TOLERANCE)
            highest = max(highest, height)
    return min(highest, value[ZINB])


@merged
def _score(gene: Gene, values: np.ndarray, estimate: np.ndarray) -> float:
    """Derivative of the log likelihood in the dropout probability, at no dropout."""
    p = values.shape[1]
    alpha, total = np.exp(estimate[-2]), -np.sum(gene.odds)
    for r in range(len(values)):
        factor = np.exp(np.dot(values[r], estimate[:p]))
        for i in range(gene.zero_start[r], gene.zero_start[r + 1]):
            log_p = minus_log_zero(factor * gene.zero_mean[i], alpha * gene.zero_dispersion[i])
            total += gene.zero_odds[i] * np.expm1(min(log_p, 500.0))
    return total


@merged
def _first_guess(gene: Gene, table: Table) -> np.ndarray:
    """Coefficients by least squares on the logs of each row's counts, shrunk towards their average."""
    n_rows = len(table.values)
    rate = np.sum(gene.counts) / (np.sum(gene.mean) + np.sum(gene.zero_mean))
    logs = np.empty(n_rows)
    for r in range(n_rows):
        ones = slice(gene.start[r], gene.start[r + 1])
        zeros = slice(gene.zero_start[r], gene.zero_start[r + 1])
        expected = rate * (np.sum(gene.mean[ones]) + np.sum(gene.zero_mean[zeros]))
        logs[r] = np.log(rate * (np.sum(gene.counts[ones]) + 0.5) / (expected + 0.5))
    return np.dot(table.inverse, logs)


@merged
def _moment(gene: Gene, table: Table, b: np.ndarray) -> float:
    """Dispersion alpha by moments, between 1e-3 and 10."""
    above, below = 0.0, 0.0
    for r in range(len(table.values)):
        factor = np.exp(np.dot(table.values[r], b))
        for i in range(gene.start[r], gene.start[r + 1]):
            mu = factor * gene.mean[i]
            above += (gene.counts[i] - mu) ** 2 - mu
            below += mu * mu * gene.dispersion[i]
        for i in range(gene.zero_start[r], gene.zero_start[r + 1]):
            mu = factor * gene.zero_mean[i]
            above += mu * mu - mu
            below += mu * mu * gene.zero_dispersion[i]
    return min(max(above / max(below, 1e-300), 1e-3), 10.0)


@compiled
def _try(gene: Gene, table: Table, family: int, start: _Start, known: float, g: int, output: Output) -> None:
    """Climb from one start and keep the end if it is the highest yet.

    With a share of dropouts the means are raised by as much as it takes away.
    """
    value, estimate = output.log_likelihood[g], output.estimate[g]
    p, n_columns = n_coefficients(gene, table.values), table.values.shape[1]
    dispersed, inflated = family in (NB, ZINB), family >= ZIP
    d = p + (1 if dispersed else 0) + (1 if inflated else 0)
    at, hessian = np.empty(d), np.empty((d, d))
    put(start.b, at)
    if dispersed:
        at[p] = log(max(start.alpha, 1e-4))
    if inflated:
        raised = log(1.0 - start.share) * np.dot(table.inverse, np.ones(len(table.values)))
        for i in range(n_columns):
            at[i] -= raised[i]
        at[d - 1] = log(start.share / (1.0 - start.share))
    height, converged = maximise(gene, table.values, family, at, hessian, known, d, TOLERANCE)
    if not height > value[family]:
        return
    value[family] = height
    put(at[:p], estimate[family])
    estimate[family, p] = at[p] if dispersed else -np.inf
    estimate[family, p + 1] = at[d - 1] if inflated else -np.inf
    output.converged[g, family] = converged
    error = np.full(p + 2, np.nan)
    hessian *= -1.0
    if factorise(hessian):
        unit = np.zeros(d)
        for i in range(d):
            unit[:] = 0.0
            unit[i] = 1.0
            place = p + 1 if inflated and i == d - 1 else i
            error[place] = np.sqrt(solve(hessian, unit)[i])
    put(error, output.error[g, family])
