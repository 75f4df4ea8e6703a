"""How many cells a call of a gene takes, and how many the verdict: power from assumptions or from a pilot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy import special

from .crossed import CrossedMean
from .zero_inflation import FEWEST_COUNTS

Floats = NDArray[np.float64]

N_GROUPS = 32  # of cells of like mean
_SINGLE, _RATIO, _TAIL = 48, 1.06, 1e-10  # counts that stand by themselves, and bins of larger ones
_LARGEST_THETA = 1e5  # as good as Poisson
_SMALLEST_DISTANCE = 1e-6  # nats per cell; a million cells do not see it
_MOST_CELLS = 1e9
_N_ERRORS = 200  # quantiles of an estimated standard error, or of the pilot's mean


class SignedRoot(NamedTuple):
    """The root of a gene's likelihood ratio, about normal, with a mean that grows with the cells.

    Attributes
    ----------
    shift, extra
        The square of the mean is ``shift^2 n_cells + extra``.
    sd
        Standard deviation.
    detected
        Probability that a cell has a count.
    """

    shift: float
    extra: float
    sd: float
    detected: float

    def power(self, n_cells: ArrayLike, z: ArrayLike) -> Floats:
        """Probability of a root above z, with counts in as many cells as a call takes."""
        n = np.asarray(n_cells, dtype=np.float64)
        mean = np.sqrt(np.maximum(self.shift**2 * n + self.extra, 0.0))
        return self._enough(n) * scipy.stats.norm.sf((z - mean) / self.sd)

    def power_of_none(self, n_cells: ArrayLike, z: float) -> Floats:
        """Probability that the interval of a gene without dropout ends below the dropout that is refuted.

        Where the estimate is 0 the ratio is not the square of a normal root but ``d (d - 2 e)``, with
        ``d = shift sqrt(n_cells)`` and ``e`` normal.
        """
        n = np.asarray(n_cells, dtype=np.float64)
        d = self.shift * np.sqrt(n)
        at = np.where(d < z, (d**2 - z**2) / (2 * d), d - z)
        return self._enough(n) * scipy.stats.norm.cdf(at / self.sd)

    def _enough(self, n_cells: Floats) -> Floats:
        return scipy.stats.binom.sf(FEWEST_COUNTS - 1, np.round(n_cells), self.detected)


class LikeMeans(NamedTuple):
    """The means of a gene in groups of cells, and the share of the cells in each, (n_groups,)."""

    means: Floats
    shares: Floats

    @classmethod
    def of(cls, means: ArrayLike) -> LikeMeans:
        """Put cells with means, any number of them, in 32 groups of like mean."""
        ordered = np.sort(np.atleast_1d(np.asarray(means, dtype=np.float64)))
        groups = np.array_split(ordered, min(N_GROUPS, len(ordered)))
        sizes = np.array([len(group) for group in groups])
        return cls(np.array([group.mean() for group in groups]), sizes / len(ordered))


class _Counts:
    """The distribution of a gene's counts without dropout, in groups of cells, large counts in bins."""

    def __init__(self, means: LikeMeans, inverse_dispersion: float) -> None:
        self._means, shares = (part[:, None] for part in means)
        theta = min(float(inverse_dispersion), _LARGEST_THETA)
        self.truth = np.array([0.0, np.log(theta)])
        edges = _edges(scipy.stats.nbinom.isf(_TAIL, theta, theta / (theta + self._means[-1, 0])))
        below = scipy.stats.nbinom.cdf(edges - 1, theta, theta / (theta + self._means))
        self._mass = shares * np.diff(below, axis=1, append=1.0)
        self._values = 0.5 * (edges + np.append(edges[1:], edges[-1] + 1) - 1)

    def mass(self, pi: float) -> Floats:
        """Probability of each bin with this dropout, (groups, bins)."""
        mass = (1 - pi) * self._mass
        mass[:, 0] += pi * self._mass.sum(1)
        return mass

    def log_density(self, pi: float, at: Floats) -> tuple[Floats, Floats]:
        """Of a ZINB of log scale and log inverse dispersion ``at``, at the bins' values, but for a constant.

        (groups, bins), and its slopes in the two, (2, groups, bins).
        """
        x, mu, theta = self._values, self._means * np.exp(at[0]), np.exp(at[1])
        of_zero, share = -np.log1p(mu / theta), mu / (theta + mu)
        value = special.gammaln(x + theta) - special.gammaln(theta) + theta * of_zero + x * np.log(share)
        by_theta = special.digamma(x + theta) - special.digamma(theta) + of_zero + share - x / (theta + mu)
        slopes = np.stack([x - (x + theta) * share, theta * by_theta])
        zero = pi + (1 - pi) * np.exp(value[:, 0])
        slopes[..., 0] *= 1 - pi / zero
        value += np.log1p(-pi)
        value[:, 0] = np.log(zero)
        return value, slopes


def _edges(largest: float) -> Floats:
    n = int(np.ceil(np.log(max(largest, _SINGLE) / _SINGLE) / np.log(_RATIO))) + 1
    beyond = np.round(_SINGLE * _RATIO ** np.arange(n))
    return np.unique(np.concatenate([np.arange(_SINGLE), beyond])).astype(np.float64)


def signed_root(
    means: ArrayLike | LikeMeans, inverse_dispersion: float, dropout: float, null_dropout: float
) -> SignedRoot:
    """How far the counts of a ZINB are from the nearest one of another dropout probability.

    The distance is that of Kullback and Leibler, averaged over cells, to the ZINB of ``null_dropout`` whose
    scale and dispersion are the nearest, as the test chooses them. With D it, and V the variance of the log
    ratio, the root of twice the sum over n cells has mean ``sqrt(2 D n)`` and variance ``V / 2 D``. What the
    fits take up of chance adds ``3 - tr(J^-1 K)`` to the square, with J the curvature of the null's
    likelihood and K the variance of its slopes (White 1982).

    Parameters
    ----------
    means
        Of cells, without dropout, any number of them; they are averaged in 32 groups of like mean
        (`LikeMeans`).
    inverse_dispersion
        theta; may be infinite.

    Examples
    --------
    >>> root = signed_root([2.0], 1.5, dropout=0.2, null_dropout=0.01)
    >>> round(root.shift * 1000**0.5, 2), round(root.sd, 2), round(root.detected, 2)
    (2.78, 0.97, 0.58)
    """
    counts = _Counts(means if isinstance(means, LikeMeans) else LikeMeans.of(means), inverse_dispersion)
    mass = counts.mass(dropout)

    def slope(at: Floats) -> Floats:
        return (counts.log_density(null_dropout, at)[1] * mass).sum((1, 2))

    def loss(at: Floats) -> tuple[float, Floats]:
        value, slopes = counts.log_density(null_dropout, at)
        return -float((value * mass).sum()), -(slopes * mass).sum((1, 2))

    of_dropout = max(dropout - null_dropout, 0.0)  # about what it adds to the dispersion
    kept = (1 - dropout) / (1 - null_dropout)
    start = np.array([np.log(kept), -np.log((np.exp(-counts.truth[1]) + of_dropout) / kept)])
    bounds, options = [(-20, 20), (-12, 12)], {"ftol": 1e-15, "gtol": 1e-10, "xtol": 1e-12}
    nearest = scipy.optimize.minimize(loss, start, jac=True, method="TNC", bounds=bounds, options=options).x
    value, slopes = counts.log_density(null_dropout, nearest)
    ratio = counts.log_density(dropout, counts.truth)[0] - value
    distance = max(float((mass * ratio).sum()), 1e-15)
    variance = float((mass * (ratio - distance) ** 2).sum()) / (2 * distance)
    steps = 1e-4 * np.eye(2)
    curvature = -np.array([slope(nearest + step) - slope(nearest - step) for step in steps]) / 2e-4
    of_slopes = np.einsum("igx,jgx,gx->ij", slopes, slopes, mass)
    extra = 3 - float(np.trace(np.linalg.solve(curvature, of_slopes))) - variance
    shift, detected = float(np.sqrt(2 * distance)), 1 - float(mass[:, 0].sum())
    if distance < _SMALLEST_DISTANCE:  # below it the rest is rounding, and this its limit
        return SignedRoot(shift, 0.0, 1.0, detected)
    # The curvature of a gene that is all but Poisson is near 0, and the trace then anything.
    return SignedRoot(shift, float(np.clip(extra, -2, 2)), float(np.sqrt(variance)), detected)


def gene_power(
    means: ArrayLike,
    inverse_dispersion: float,
    dropout: float,
    n_cells: ArrayLike,
    *,
    level: ArrayLike = 0.001,
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
) -> Floats:
    """Compute the probability that a gene of this dropout is called right, for each number of cells.

    That is the probability of ``"zero-inflated"``, with counts in 20 cells or more; for a dropout of 0, that
    of ``"negligible"``. By the normal law of the likelihood ratio's root:
    `zinbtools.stats.power.signed_root`.

    Parameters
    ----------
    means
        Mean counts without dropout of cells like those that are to be measured: a number, or as many as are
        known. Library sizes that differ make means that differ. Twice the depth is twice the means.
    inverse_dispersion
        theta; may be infinite.
    dropout
        0, or more than ``negligible_dropout``.
    level
        The largest p value that is called: with a false discovery rate of ``alpha``, that times the share of
        genes that are called (`zinbtools.stats.power.PilotCalls`). One for all numbers of cells, or for each.
    alpha
        The interval of dropout probabilities has level ``1 - 2 alpha``; for a dropout of 0 alone.
    negligible_dropout
        As for `zinbtools.tl.zi_scores`.

    Examples
    --------
    >>> depth = np.random.default_rng(0).lognormal(0, 0.4, 1000)
    >>> gene_power(2 * depth, 1.5, 0.1, [500, 2000, 8000]).round(2)
    array([0.03, 0.27, 0.97])
    """
    known = _root_of(means, inverse_dispersion, dropout, negligible_dropout)
    if dropout == 0:
        return known.power_of_none(n_cells, float(scipy.stats.norm.isf(alpha)))
    return known.power(n_cells, scipy.stats.norm.isf(level))


def _root_of(means: ArrayLike, theta: float, dropout: float, negligible: float) -> SignedRoot:
    if 0 < dropout <= negligible:
        raise ValueError(f"dropout must be 0, or above the negligible {negligible:g}, found {dropout!r}.")
    if dropout == 0 == negligible:
        raise ValueError("with negligible_dropout=0 no gene is called negligible; give a dropout above 0.")
    return signed_root(means, theta, dropout, negligible)


def fewest(power: Callable[[Floats], Floats], wanted: float, shape: tuple[int, ...]) -> Floats:
    """The smallest whole numbers, of this shape, at which a power that grows with them is as wanted.

    Infinite where a billion are not enough.
    """
    low, high = np.full(shape, -1.0), np.full(shape, np.log(_MOST_CELLS))
    for _ in range(50):
        middle = 0.5 * (low + high)
        enough = power(np.ceil(np.exp(middle))) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(power(np.full(shape, _MOST_CELLS)) >= wanted, np.ceil(np.exp(high)), np.inf)


def gene_cells(
    means: ArrayLike,
    inverse_dispersion: float,
    dropout: float,
    *,
    power: float = 0.8,
    level: float = 0.001,
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
) -> float:
    """Return the number of cells at which a gene of this dropout is called right with this power.

    Parameters are those of `zinbtools.stats.power.gene_power`.

    Examples
    --------
    >>> gene_cells(2.0, 1.5, 0.1), gene_cells(0.02, 1.5, 0.1) > 1e6
    (6549.0, True)
    """
    known = _root_of(means, inverse_dispersion, dropout, negligible_dropout)
    z_none, z = scipy.stats.norm.isf(alpha), scipy.stats.norm.isf(level)

    def of(n: Floats) -> Floats:
        return known.power_of_none(n, z_none) if dropout == 0 else known.power(n, z)

    return float(fewest(of, power, ()))


class PilotCalls:
    """What the p values of a pilot's genes say of how many more cells would call.

    The roots of the likelihood ratios are normal around shifts of their own, with standard deviation 1, and 0
    where they would be below. The distribution of the shifts is estimated without further assumption (Kiefer
    and Wolfowitz 1956), and with it what is known of each gene's.

    Parameters
    ----------
    pval
        Of the genes that were tested, (G,).
    """

    def __init__(self, pval: ArrayLike) -> None:
        root = np.maximum(scipy.stats.norm.isf(np.clip(np.asarray(pval, dtype=np.float64), 1e-300, 0.5)), 0.0)
        self._shifts = np.concatenate([[-3.0], np.arange(0, min(root.max(initial=0), 39) + 1, 0.25)])
        likelihood = scipy.stats.norm.pdf(root[:, None] - self._shifts)
        likelihood[root == 0] = scipy.stats.norm.cdf(-self._shifts)
        weights = np.full(len(self._shifts), 1 / len(self._shifts))
        for _ in range(500):
            posterior = likelihood * weights
            posterior /= posterior.sum(1, keepdims=True)
            weights = posterior.mean(0)
        self._posterior = posterior

    def level(self, factor: ArrayLike, alpha: float) -> float:
        """The largest p value that is called at a false discovery rate, with shifts so many times as large.

        The factor is that of each gene, (G,), or of all. As Benjamini and Hochberg would, with the number of
        genes that are expected to be called; at least that of a single one.
        """
        n = len(self._posterior)
        shifts = np.broadcast_to(factor, n)[:, None] * self._shifts
        level, normal = alpha, scipy.stats.norm
        for _ in range(200):
            called = float((self._posterior * normal.sf(normal.isf(level) - shifts)).sum())
            before, level = level, alpha * max(called, 1.0) / max(n, 1)
            if before - level < 1e-4 * level:
                break
        return level


class VerdictPower(NamedTuple):
    """Probabilities of where the interval will lie; arrays of one shape. It is open in the rest.

    Attributes
    ----------
    above, inside
        Of the region.
    below
        Below it, or over its lower edge alone.
    """

    above: Floats
    inside: Floats
    below: Floats


def verdict_power(
    pilot: CrossedMean,
    rope: float,
    n_cells: ArrayLike,
    n_restarts: ArrayLike,
    *,
    difference: ArrayLike | None = None,
    alpha: float = 0.05,
) -> VerdictPower:
    """Compute where the interval of a mean difference will lie, with so many test cells and restarts.

    The mean is normal, the estimate of its error that of a mean square with Satterthwaite's degrees of
    freedom, both from the pilot's components of variance.

    Parameters
    ----------
    pilot
        What `zinbtools.stats.crossed.crossed_mean` made of some cells and restarts.
    rope
        Half-width of the region of practical equivalence.
    n_cells, n_restarts
        Test cells and restarts; numbers, or arrays that go together.
    difference
        The true one; by default the pilot's, as if it were.
    alpha
        The interval has level ``1 - alpha``.

    Examples
    --------
    >>> pilot = CrossedMean(0.5, 0.1118, 20.0, 1.0, 0.1, 5, 100)
    >>> power = verdict_power(pilot, 0.25, [100, 400, 1600], 5)
    >>> power.above.round(2), power.inside.round(2)
    (array([0.59, 0.94, 0.98]), array([0., 0., 0.]))
    """
    true = np.asarray(pilot.mean if difference is None else difference, dtype=np.float64)
    n_cells, n_restarts, true = np.broadcast_arrays(n_cells, n_restarts, true)
    expected = [pilot.at(int(r), int(n)) for r, n in zip(n_restarts.flat, n_cells.flat, strict=True)]
    se, df = (np.reshape([getattr(e, of) for e in expected], true.shape)[..., None] for of in ("se", "df"))
    quantiles = (np.arange(_N_ERRORS) + 0.5) / _N_ERRORS
    half = scipy.stats.t.isf(alpha / 2, df) * se * np.sqrt(scipy.stats.chi2.ppf(quantiles, df) / df)
    true, se, normal = true[..., None], np.maximum(se, 1e-300), scipy.stats.norm
    above, not_above = normal.sf((rope + half - true) / se), normal.cdf((rope - half - true) / se)
    inside = np.maximum(not_above - normal.cdf((half - rope - true) / se), 0)
    return VerdictPower(above.mean(-1), inside.mean(-1), (not_above - inside).mean(-1))


def expected_verdict_power(
    pilot: CrossedMean, rope: float, n_cells: ArrayLike, n_restarts: ArrayLike, *, alpha: float = 0.05
) -> VerdictPower:
    """Average over what the true difference may be, as far as the pilot tells it.

    What is averaged, and the parameters, are those of `zinbtools.stats.power.verdict_power`.

    Examples
    --------
    >>> pilot = CrossedMean(0.5, 0.1118, 20.0, 1.0, 0.1, 5, 100)
    >>> expected_verdict_power(pilot, 0.25, [100, 400, 1600], 5).above.round(2)
    array([0.57, 0.79, 0.84])
    """
    quantiles = (np.arange(_N_ERRORS) + 0.5) / _N_ERRORS
    true = pilot.mean + pilot.se * scipy.stats.t.ppf(quantiles, pilot.df)
    n_cells, n_restarts = (np.asarray(n)[..., None] for n in np.broadcast_arrays(n_cells, n_restarts))
    power = verdict_power(pilot, rope, n_cells, n_restarts, difference=true, alpha=alpha)
    return VerdictPower(*(part.mean(-1) for part in power))


def verdict_needs(
    pilot: CrossedMean, rope: float, *, power: float = 0.8, alpha: float = 0.05
) -> tuple[float, float]:
    """Restarts alone, and test cells alone, with which an interval as far off leaves the upper edge so often.

    With as many of the other as there are; infinite where they cannot.

    Examples
    --------
    >>> pilot = CrossedMean(0.5, 0.1118, 20.0, 1.0, 0.1, 5, 100)
    >>> verdict_needs(pilot, 0.2)
    (10.0, 116.0)
    """

    def decided(n_restarts: Floats, n_cells: Floats) -> Floats:
        found = verdict_power(pilot, rope, n_cells, n_restarts, alpha=alpha)
        return np.maximum(found.above, found.inside + found.below)

    return (
        float(fewest(lambda n: decided(n, np.asarray(pilot.n_columns)), power, ())),
        float(fewest(lambda n: decided(np.asarray(pilot.n_rows), n), power, ())),
    )
