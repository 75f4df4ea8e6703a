"""NB and ZINB on the same test cells: trained in pairs until it is clear, evaluated, and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from .._anndata.reading import FEWEST_FOLDS, FEWEST_TEST_CELLS
from .._words.answers import Explanation
from .._words.count_kinds import CountKind
from .._words.warn import warn
from ..get._settings import FitSettings
from ..model.config import Proposal
from ..model.data import CountData
from ..model.marginal import MarginalLikelihood
from ..model.zeros import ZeroCalibration, dropped_zeros, zero_calibration
from ..stats.crossed import CrossedMean
from ..stats.equivalence import Position, conclude, default_rope, position
from ..stats.zero_excess import ZeroExcess, zero_excess
from ._by_gene import ByGene, are_explained, by_gene, gain_of, training_copies
from ._copies import FEWEST_COPIES
from ._gains import Estimates, Gains, differences, gains, joined, log_likelihood, mean_gain
from ._marginal import Restart, evaluate_models
from ._rivals import AMPLIFIED, GENE_CELL, NB, Rival, explanation
from ._setup import Run, Sample, Seeds, Setup, prepare_folds
from ._trained import Trained, train_folds

# Restarts after which it is asked whether they suffice: on one split, and by folds.
AUTO_ROUNDS, FOLD_ROUNDS = (3, 5, 10), (1, 2, 3, 5)
# Likewise of the two models with a dispersion per gene and cell.
RIVAL_ROUNDS, RIVAL_FOLD_ROUNDS = (3, 5), (1, 2)
FOLDS = "folds"  # what stands for a split in the metrics of all cells
AUTO_FOLDS = 10
MOST_AT_ONCE, MOST_BY_FOLDS = 2_000, 10_000  # cells that are compared by folds at once, or if need be
N_DRAWS = 2  # from the posterior, where the sum is over thousands of entries
MOST_CELLS, MOST_DRAWN = 20_000, 2_000  # whose zeros are counted, and are drawn again


@dataclass(frozen=True)
class Method:
    """How NB and ZINB are compared; parameters as for `model_selection`."""

    n_restarts: int | Literal["auto"]
    folds: int | Literal["auto"]
    alpha: float
    rope: float | None
    n_samples: int
    n_null: int
    proposal: Proposal
    seed: int
    run: Run
    counts: Literal["auto", "molecules", "reads"] = "auto"

    def once(self) -> Method:
        """With one restart on one split."""
        return replace(self, n_restarts=1, folds=1)

    def apart(self) -> Method:
        """For other counts than those that a folder of finished restarts is about."""
        return replace(self, run=replace(self.run, resume=None))

    def compare(self, sample: Sample, settings: FitSettings, n_rounds: int | None = None) -> Comparison:
        """Fit both models to a sample, and compare them; ask so often at most whether restarts suffice.

        By default it is one look at a tenth of the cells where that may be enough, and then two at all of
        them by folds.
        """
        asked = n_folds_of(self.folds, settings, sample.n_obs, MOST_AT_ONCE)
        if_open = n_folds_of(self.folds, settings, sample.n_obs)
        by_restarts = self.n_restarts != "auto" or n_rounds is not None or asked == if_open
        found = self._compare_by(asked, sample, settings, n_rounds if by_restarts else 1)
        if by_restarts or found.position != "open":
            return found
        by_folds = replace(self, run=self.run.within(f"{if_open}-folds"))
        return by_folds._compare_by(if_open, sample, settings, 2)

    def _compare_by(
        self, n_folds: int, sample: Sample, settings: FitSettings, n_rounds: int | None = None
    ) -> Comparison:
        seed = Seeds.spawn(self.seed).split
        setups = prepare_folds(sample, settings, seed, self.run.device, n_folds=n_folds)
        return self.compare_on(setups, n_rounds=n_rounds)

    def compare_on(
        self, setups: Sequence[Setup], rounds: Sequence[int] = (), n_rounds: int | None = None
    ) -> Comparison:
        """Train pairs of models on each split until it is clear which is better."""
        fits: list[Trained] = []
        estimates: list[dict[Restart, MarginalLikelihood]] = [{} for _ in setups]
        auto = AUTO_ROUNDS if len(setups) == 1 else FOLD_ROUNDS
        rounds = (rounds or (auto if self.n_restarts == "auto" else (self.n_restarts,)))[:n_rounds]
        for n_restarts in rounds:
            seeds = Seeds.spawn(self.seed, n_restarts * len(setups))
            fits = train_folds(setups, seeds, self.run, known=fits)
            estimates = self.evaluate(fits, known=estimates)
            found = Comparison(self, fits, estimates)
            if found.position != "open" or not found.may_close(rounds[-1]):
                break
        return found

    def evaluate(
        self, fits: Sequence[Trained], known: Sequence[Estimates] = ()
    ) -> list[dict[Restart, MarginalLikelihood]]:
        """Estimate the log likelihood of each fit's test cells under its restarts that are not known yet."""
        found = [dict(estimates) for estimates in known] or [{} for _ in fits]
        places = [
            (fold, (name, restart))
            for fold, fit in enumerate(fits)
            for name in fit.models
            for restart in fit.restarts(name)
            if (name, restart) not in found[fold]
        ]
        estimates = evaluate_models(
            fits[0].data,
            [(fits[fold], restart, fits[fold].cells("test")) for fold, restart in places],
            n_samples=self.n_samples,
            proposal=self.proposal,
            rng=self.seed,
            n_jobs=self.run.n_jobs,
            executor=self.run.executor,
        )
        for (fold, restart), estimate in zip(places, estimates, strict=True):
            found[fold][restart] = estimate
        return [dict(sorted(of_fold.items())) for of_fold in found]


@dataclass(frozen=True)
class Comparison:
    """What the test cells say of the two models.

    Attributes
    ----------
    fits, estimates
        Of each fold; of one split there is one. The first fit is the one that is reported.
    """

    method: Method
    fits: Sequence[Trained]
    estimates: Sequence[Estimates]

    @property
    def fit(self) -> Trained:
        return self.fits[0]

    @property
    def data(self) -> CountData:
        return self.fit.data

    @cached_property
    def cells(self) -> np.ndarray:
        """The test cells of the fit that is reported, by index."""
        return self.fit.cells("test")

    @cached_property
    def gains(self) -> Gains:
        """Log likelihood of each test cell under the ZINB minus that under the NB, nats."""
        return gains("zinb", self.estimates, self.estimates)

    @cached_property
    def difference(self) -> CrossedMean:
        """Mean of `gains`, with its error over cells, restarts and folds."""
        return mean_gain(self.gains)

    @cached_property
    def of_all_folds(self) -> Estimates:
        """Of all cells, each by the fold that tests it, by model and restart."""
        restarts = sorted({restart for of_fold in self.estimates for restart in of_fold})
        return {
            restart: joined([of_fold[restart] for of_fold in self.estimates if restart in of_fold])
            for restart in restarts
        }

    @property
    def nll(self) -> float:
        """The NB's, averaged over restarts, nats per cell."""
        of_cells = [
            np.mean([log_likelihood(estimates["nb", restart]) for restart in pairs], axis=0)
            for estimates, pairs in zip(self.estimates, self.gains, strict=True)
            if pairs
        ]
        return -float(np.concatenate(of_cells).mean())

    @property
    def rope(self) -> float:
        """Half-width of the region of practical equivalence, nats per cell."""
        given = self.method.rope
        return default_rope(self.nll) if given is None else given

    @property
    def position(self) -> Position:
        """Where the interval of the difference lies."""
        return self._place(self.difference)

    def may_close(self, n_restarts: int) -> bool:
        """Whether so many restarts may take the interval off the region's upper edge."""
        return self.difference.may_leave(self.rope, n_restarts, 1 - self.method.alpha)

    @cached_property
    def zeros(self) -> ZeroCalibration:
        """Zeros of all cells, and what the NB's best restart expects; the test cells are drawn again."""
        device, seed = self.data.device, self.method.seed
        everyone, drawn = _some(self.fit.cells("all"), MOST_CELLS, seed), _some(self.cells, MOST_DRAWN, seed)
        return zero_calibration(
            self.fit.load("nb", device),
            self.data,
            torch.as_tensor(everyone, device=device),
            torch.as_tensor(drawn, device=device),
            n_null=self.method.n_null,
            n_draws=N_DRAWS,
            seed=seed,
            n_threads=self.method.run.n_threads,
        )

    @property
    def n_counted(self) -> int:
        """Number of cells whose zeros are counted."""
        return min(self.data.n_cells, MOST_CELLS)

    @cached_property
    def excess(self) -> ZeroExcess:
        """What there is of zeros beyond these."""
        return zero_excess(*self.zeros)

    def excess_among(self, genes: np.ndarray) -> ZeroExcess:
        """The same of some genes, by a mask, (n_genes,)."""
        zeros = self.zeros
        of_data = zeros.observed[genes], zeros.expected[genes]
        of_null = zeros.null_observed[:, genes], zeros.null_expected[:, genes]
        return zero_excess(*of_data, *of_null, zeros.scale)

    @property
    def is_inflated(self) -> bool:
        """Whether the ZINB predicts better and there are excess zeros, whatever explains them."""
        return self.position == "above" and self.excess.found(self.method.alpha)

    @property
    def may_be_inflated(self) -> bool:
        """Whether there are excess zeros, and the ZINB predicts better or it is not known whether it does."""
        return self.position in ("above", "open") and self.excess.found(self.method.alpha)

    @cached_property
    def rival(self) -> Comparison | None:
        """The same with a dispersion per gene and cell for both models; None where it is not asked for.

        It is where the ZINB is above the region: an NB whose dispersion is the same in all cells lacks zeros
        in those in which it is larger, and a dropout head makes them.
        """
        settings = self.fit.settings
        if self.position != "above" or settings.common.dispersion == "gene-cell":
            return None
        free = settings.changed(dispersion="gene-cell")
        rounds = RIVAL_ROUNDS if len(self.fits) == 1 else RIVAL_FOLD_ROUNDS
        asked = self.method.n_restarts
        most = rounds[-1] if asked == "auto" else asked
        setups = [replace(fit.setup, settings=free) for fit in self.fits]
        return self.method.compare_on(setups, sorted({min(n, most) for n in rounds}))

    def dropped(self) -> dict[int, float]:
        """Share of the test cells' zeros that each restart of the ZINB makes by dropout."""
        device = self.data.device
        cells = torch.as_tensor(self.cells, device=device)
        settings = {"n_draws": N_DRAWS, "seed": self.method.seed}
        return {
            restart: dropped_zeros(self.fit.load("zinb", device, restart), self.data, cells, **settings)
            for restart in self.fit.restarts("zinb")
        }

    def gains_of(self, rival: Sequence[Estimates]) -> Gains:
        """Log likelihood of each test cell under another NB minus that under this one, nats."""
        return gains("nb", rival, self.estimates)

    @cached_property
    def by_gene(self) -> Sequence[ByGene]:
        """Genes around the NB's means in each fold, of reads as copied molecules too; nothing of molecules.

        Counts that nobody said are molecules are asked for copies too if they would be zero-inflated or may
        be, and are reads then if the copies are two or more, and the NB of copied molecules is shown not to
        be worse than the ZINB by more than the region: of molecules with a dropout it is. There is nothing
        where reads do not say how their molecules were copied, with a warning.
        """
        are_reads = self.fit.setup.sample.finding.kind == CountKind.READS
        if not are_reads and not (self.method.counts == "auto" and self.may_be_inflated):
            return []
        found = []
        try:
            for fit in self.fits:
                copies = training_copies(fit)
                if not are_reads and copies.level < FEWEST_COPIES:
                    return []
                cells = fit.cells("train"), fit.cells("test")
                found.append(by_gene(fit, fit.data, cells, copies, self.method.run.n_threads))
        except ValueError as error:
            if are_reads:
                warn(f"{error} Verdict and genes are about an NB and a ZINB of reads.")
            return []
        return found if are_reads or are_explained(found, self.rope, self.method.alpha) else []

    def _place(self, difference: CrossedMean) -> Position:
        """Where the interval of a difference lies."""
        return position(*difference.interval(1 - self.method.alpha), self.rope)

    @property
    def reads_per_molecule(self) -> float:
        """Of reads, as the training cells of the folds have it; 1 of molecules."""
        return float(np.median([x.reads_per_molecule for x in self.by_gene])) if self.by_gene else 1.0

    @property
    def are_copied(self) -> bool:
        """Whether molecules were read so often that copies may explain zeros."""
        return self.reads_per_molecule >= FEWEST_COPIES

    @cached_property
    def rivals(self) -> Sequence[Rival]:
        """The NB itself, and what else may explain a gain of the ZINB."""
        found = [
            Rival(
                NB,
                CrossedMean(0.0, 0.0, np.inf, 0.0, 0.0, 1, 1),
                mean_gain(differences(None, self.gains)),
                self.difference,
                self.position,
                self.excess.found(self.method.alpha),
            )
        ]
        if self.by_gene:
            found.append(self._amplified(self.by_gene))
        if self.rival is not None:
            found.append(self._dispersed(self.rival))
        return found

    def _amplified(self, of_folds: Sequence[ByGene]) -> Rival:
        """It explains a gain if it is not below the ZINB, and a dropout adds no more than the region.

        Not where a molecule was read less than twice, as there it is the NB.
        """
        over_nb, over_zinb = (gain_of(of_folds, "amplified_nb", other) for other in ("nb", "zinb"))
        of_zinb = gain_of(of_folds, "amplified_zinb", "amplified_nb")
        where, adds = self._place(of_zinb), of_zinb.interval(1 - self.method.alpha)[0] > 0
        fits = self._place(over_zinb) != "below"
        by = Explanation.AMPLIFICATION if self.are_copied and fits and where != "above" else Explanation.NONE
        return Rival(AMPLIFIED, over_nb, over_zinb, of_zinb, where, adds, by)

    def _dispersed(self, rival: Comparison) -> Rival:
        ours = self.gains_of(rival.estimates)
        return Rival(
            GENE_CELL,
            mean_gain(ours),
            mean_gain(differences(ours, self.gains)),
            rival.difference,
            rival.position,
            rival.excess.found(self.method.alpha),
            Explanation.NONE if rival.is_inflated else Explanation.DISPERSION,
        )

    @property
    def explained_by(self) -> Explanation:
        """What explains that the ZINB predicts better, if its gain or the excess zeros do not survive."""
        return explanation(self.rivals) if self.position == "above" else Explanation.NONE

    @property
    def verdict(self) -> str:
        """The verdict, without twins, groups and covariates."""
        return conclude(self.position, self.is_inflated and not self.explained_by)


def n_folds_of(
    folds: int | Literal["auto"], settings: FitSettings, n_obs: int, most: int = MOST_BY_FOLDS
) -> int:
    """How many folds so many cells are compared in.

    By default one if the settings have their own split, or there are more than ``most`` cells.
    """
    if folds != "auto":
        return folds
    own_split = settings.split != settings.preset.shares
    too_few = n_obs < FEWEST_FOLDS * FEWEST_TEST_CELLS
    if own_split or too_few or n_obs > most or settings.common.stop_on != "validation":
        return 1
    return min(AUTO_FOLDS, n_obs // FEWEST_TEST_CELLS)


def _some(cells: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many of them."""
    if len(cells) <= most:
        return cells
    return np.sort(np.random.default_rng(seed).choice(cells, most, replace=False))
