"""`ppc`: compare replicated counts of the models with the observed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .._anndata.reading import check_anndata, gene_names
from .._anndata.results import target_of
from .._check.arguments import checked
from .._check.rng import RNG, integer
from .._record import parts
from .._record.parts import Metric
from ..get._fitted import Fitted, resolve_device
from ..jobs.progress import step, tells
from ..jobs.threads import available_threads, in_order, single_threaded
from ..model.data import CountData
from ..model.predictive import Draw, Latent, Replicates, quantile_residuals
from ..stats.calibration import ResidualSums, rank_position
from ..stats.discrepancies import CHECKS, Check, Floats, GeneStatistics, ks_distance
from ._added import says_what_it_added
from ._metrics import update_metrics
from ._trained import Trained

PIT = "pit"
_NULL_BAND = 2.5, 97.5  # per cent
_EXPECTED_EVERY = 4  # draws: without the noise of counts, fewer latent states are as good


@checked
@says_what_it_added
@tells
@single_threaded()
def ppc(
    adata: AnnData,
    *,
    n_samples: int = 100,
    n_null: int = 100,
    checks: str | Check | Sequence[str | Check] = ("dropout_ratio", "zeros_to_expression", "cv"),
    split: Literal["train", "validation", "test", "all"] = "test",
    latent: Latent = "posterior",
    device: str = "auto",
    rng: RNG = 0,
    progress: bool = True,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Run posterior predictive checks: a number per gene from replicated counts against that of the data.

    A draw takes z and the library size of each cell from the posterior, then counts from the decoder. The
    checks follow from sums over cells, so that draws stream through and nothing but genes x checks is kept.

    Parameters
    ----------
    n_samples
        Draws over which each predicted number is averaged.
    n_null
        Further draws of each model's best restart that take the place of the data, one after the other: the
        distances that the model has from itself. 0 for none.
    checks
        Names in `zinbtools.stats.discrepancies.CHECKS`: ``"dropout_ratio"`` (share of zeros),
        ``"zeros_to_expression"``, ``"cv"`` (coefficient of variation), ``"mean"``, ``"variance"``,
        ``"maximum"``, ``"one_ratio"``, ``"zeros_by_mean"``; `zinbtools.stats.discrepancies.Check` objects
        of one's own; and ``"pit"``, randomised quantile residuals of every count with a test of their
        uniformity per gene.
    split
        Which cells; the study used the training cells.
    latent
        Where draws take the latent states from. ``"posterior"``: anew from each cell's posterior, as in the
        study. As that has seen the counts, the tail probabilities of a true model are not uniform.
        ``"fixed"``: one draw from the posterior, shared by all draws of counts; uniform if the posterior were
        exact. ``"prior"``: whole new cells, uniform for a true model. Residuals are always as ``"fixed"``.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``. On a CPU threads draw side by side, as many as
        `zinbtools.tl.fit_nb_zinb` has by default; the numbers are the same.

    Returns
    -------
    ``None``, or the copy. Sets:

    ``uns["zinbtools"]["ppc"]``
        ``genes``, ``checks``: see `zinbtools.get.ppc_df`; of each model's best restart, as the next two.
        ``ks``: see `zinbtools.get.ppc_ks_df`. ``residuals`` and ``residual_histograms``, with ``"pit"``: see
        `zinbtools.get.calibration_df`. ``n_samples``, ``n_null``, ``split``, ``latent``.
    ``uns["zinbtools"]["metrics"]``
        Rows ``ks_<check>`` per restart: Kolmogorov-Smirnov distance over genes between observed values and
        means over draws, as in the study. The draws of a perfect model do not reach 0: compare with the null.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If a check is not known or does not give a number per gene, or the split has no cells.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> zt.tl.ppc(adata, n_samples=5, n_null=5)
    >>> len(zt.get.ppc_df(adata)), len(zt.get.ppc_ks_df(adata))
    (300, 6)
    """
    check_anndata(adata, copy)
    chosen = choose(checks)
    fit = Fitted.read(adata, key)
    data, cells = fit.data(adata, resolve_device(device)), fit.cells(adata, split)
    metrics, results = predictive_checks(
        fit,
        data,
        cells,
        gene_names(adata)[fit.genes(adata)],
        *chosen,
        n_samples=n_samples,
        n_null=n_null,
        split=split,
        latent=latent,
        seed=integer(rng),
        n_threads=available_threads(data.device),
    )
    target = target_of(adata, copy)
    if metrics:
        update_metrics(target, fit.keys, metrics)
    target.uns[fit.keys.uns][parts.PPC.name] = results
    return target if copy else None


def predictive_checks(
    fit: Fitted | Trained,
    data: CountData,
    cells: np.ndarray,
    genes: pd.Index,
    checks: list[Check],
    residuals_wanted: bool,
    *,
    n_samples: int,
    n_null: int = 100,
    split: str,
    latent: Latent = "posterior",
    seed: int,
    n_threads: int,
) -> tuple[list[Metric], dict[str, Any]]:
    """Check predictions of some cells, by index, for every restart; return what `ppc` writes."""
    everyone = torch.as_tensor(cells, device=data.device)
    observed = _evaluate(checks, data.statistics(cells))
    metrics: list[Metric] = []
    distances: list[tuple[Any, ...]] = []
    best: dict[str, _Discrepancies] = {}
    residuals: dict[str, ResidualSums] = {}
    restarts = [(name, restart) for name in fit.models for restart in fit.restarts(name)]
    n_draws = len(restarts) * n_samples + len(fit.models) * n_null if checks else 0
    with step(n_draws, "predictive checks", "draw") as done:
        for name, restart in restarts:
            is_best = restart == fit.best_restart(name)
            model = fit.load(name, data.device, restart)
            if checks:
                draws = Replicates(model, data, everyone, seed=seed, latent=latent)
                found = _Discrepancies(checks, observed, each_draw=is_best)
                found.add(draws, range(n_samples), n_threads, done)
                metrics += [Metric(name, restart, split, f"ks_{k.name}", d) for k, d in found.distances()]
            if is_best and checks:
                best[name] = found
                others = range(n_samples, n_samples + n_null)
                distances += found.against_null(name, draws, others, n_threads, done)
            if is_best and residuals_wanted:
                blocks = quantile_residuals(model, data, everyone, seed=seed)
                residuals[name] = reduce(add, map(ResidualSums.from_residuals, blocks))
    results: dict[str, Any] = dict(zip(parts.PPC.holds, (n_samples, n_null, split, latent), strict=True))
    if checks:
        results[parts.PPC_GENES.name] = _genes_table(genes, checks, observed, best)
        results[parts.PPC_KS.name] = pd.DataFrame(distances, columns=parts.PPC_KS.holds)
        results[parts.PPC_CHECKS.name] = pd.DataFrame(
            [(k.name, k.label, k.short, k.reading, k.direction, k.reference) for k in checks],
            columns=parts.PPC_CHECKS.holds,
        )
    if residuals:
        results[parts.PPC_RESIDUALS.name] = _residuals_table(genes, residuals)
        results[parts.PPC_HISTOGRAMS.name] = {name: sums.histogram for name, sums in residuals.items()}
    return metrics, results


def choose(checks: str | Check | Sequence[str | Check]) -> tuple[list[Check], bool]:
    """Look up the checks, and say whether residuals are wanted too."""
    wanted = [checks] if isinstance(checks, str | Check) else list(checks)
    known = [*CHECKS, PIT]
    if not wanted or any(not isinstance(check, Check) and check not in known for check in wanted):
        raise ValueError(
            f"checks must be some of {', '.join(map(repr, known))} or Check objects, found {checks!r}."
        )
    chosen = [check if isinstance(check, Check) else CHECKS[check] for check in wanted if check != PIT]
    names = [check.name for check in chosen]
    if len(set(names)) < len(names):
        raise ValueError(f"checks must have different names, found {', '.join(map(repr, names))}.")
    return chosen, PIT in wanted


def _evaluate(checks: Sequence[Check], statistics: GeneStatistics) -> Floats:
    """Compute the checks, (n_checks, n_genes)."""
    values = np.empty((len(checks), statistics.total.size))
    for row, check in zip(values, checks, strict=True):
        found = np.asarray(check(statistics), dtype=np.float64)
        if found.shape != row.shape:
            raise ValueError(
                f"check {check.name!r} must give one number per gene, shape {row.shape}, found {found.shape}."
            )
        row[:] = found
    return values


class _Discrepancies:
    """The observed values of the checks and running sums over those of one restart's draws."""

    def __init__(self, checks: Sequence[Check], observed: Floats, *, each_draw: bool) -> None:
        self.checks, self.observed = checks, observed
        self._linear = np.array([check.linear for check in checks])
        self._each_draw = each_draw
        self._n, self._n_above, self._n_ties, self._mean, self._squares, self._expected = np.zeros(
            (6, *observed.shape)
        )
        self._n_expected = 0
        self._by_draw: list[list[float]] = []
        self._last = observed

    def add(self, draws: Replicates, numbers: range, n_threads: int, done: Callable[[int], object]) -> None:
        """Add draws; every few of them with their expected counts."""
        linear = bool(self._linear.any())

        def made(number: int) -> Draw:
            return draws.draw(number, expected=linear and number % _EXPECTED_EVERY == 0)

        for draw in in_order(made, numbers, n_threads):
            self._add(draw)
            done(1)

    def _add(self, draw: Draw) -> None:
        values = _evaluate(self.checks, draw.counts)
        defined = np.isfinite(values)
        self._n += defined
        step = np.where(defined, values - self._mean, 0)
        self._mean += step / np.maximum(self._n, 1)
        self._squares += step * np.where(defined, values - self._mean, 0)
        self._n_above += values > self.observed
        self._n_ties += values == self.observed
        if draw.expected is not None:
            self._expected += _evaluate(self.checks, draw.expected)
            self._n_expected += 1
        if self._each_draw:
            self._by_draw.append(_distances(self.observed, values))
        self._last = values

    @property
    def predicted(self) -> Floats:
        """Mean over the draws for which a check is defined."""
        return np.where(self._n > 0, self._mean, np.nan)

    @property
    def expected(self) -> Floats:
        """Expected value given the drawn latent states, where it has a closed form."""
        return np.where(self._linear[:, None], self._expected / max(self._n_expected, 1), np.nan)

    @property
    def deviation(self) -> Floats:
        """Standard deviation over draws; NaN for fewer than two."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self._n > 1, np.sqrt(self._squares / (self._n - 1)), np.nan)

    @property
    def tail(self) -> Floats:
        """Share of draws above the observed value."""
        defined = np.isfinite(self.observed) & (self._n > 0)
        return np.where(defined, rank_position(self._n_above, self._n_ties, self._n), np.nan)

    def distances(self) -> list[tuple[Check, float]]:
        """Return the study's distance of each check."""
        return list(zip(self.checks, _distances(self.observed, self.predicted), strict=True))

    def against_null(
        self,
        model: str,
        draws: Replicates,
        numbers: range,
        n_threads: int,
        done: Callable[[int], object],
    ) -> list[tuple[Any, ...]]:
        """Return rows of the table of distances; further draws stand in for the data."""
        predicted, null, between = self.predicted, [], []
        for draw in in_order(draws.draw, numbers, n_threads):
            values = _evaluate(self.checks, draw.counts)
            null.append(_distances(values, predicted))
            between.append(_distances(values, self._last))
            self._last = values
            done(1)
        observed = np.array(_distances(self.observed, predicted))
        by_draw = np.array(self._by_draw)
        spread = by_draw.std(0, ddof=1) if len(by_draw) > 1 else np.full(len(self.checks), np.nan)
        undefined = np.full((1, len(self.checks)), np.nan)
        of_null = np.array(null) if null else undefined
        columns = (
            observed,
            rank_position((of_null < observed).sum(0), (of_null == observed).sum(0), len(null))
            if null
            else undefined[0],
            of_null.mean(0),
            *np.percentile(of_null, _NULL_BAND, axis=0),
            by_draw.mean(0),
            spread,
            np.array(between).mean(0) if between else undefined[0],
        )
        return [
            (check.name, model, *map(float, of)) for check, *of in zip(self.checks, *columns, strict=True)
        ]


def _distances(first: Floats, second: Floats) -> list[float]:
    """Compute the KS distance of each check."""
    return [ks_distance(a, b) for a, b in zip(first, second, strict=True)]


def _genes_table(
    genes: pd.Index, checks: Sequence[Check], observed: Floats, best: dict[str, _Discrepancies]
) -> pd.DataFrame:
    columns = {
        "gene": np.tile(genes, len(checks)),
        "check": np.repeat([check.name for check in checks], len(genes)),
        "observed": observed.ravel(),
    }
    for end, what in zip(parts.PREDICTED, ("predicted", "expected", "deviation", "tail"), strict=True):
        columns |= {f"{name}{end}": getattr(found, what).ravel() for name, found in best.items()}
    return pd.DataFrame(columns)


def _residuals_table(genes: pd.Index, residuals: dict[str, ResidualSums]) -> pd.DataFrame:
    """Return columns gene, then statistic, p value, location and spread of each model."""
    columns = {"gene": genes}
    for name, sums in residuals.items():
        columns |= {f"{name}_{what}": values for what, values in sums.test()._asdict().items()}
    return pd.DataFrame(columns)
