"""NB and ZINB on the same test cells: trained in pairs until it is clear, evaluated, and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from .._words.answers import Explanation
from ..get._settings import FitSettings
from ..model.config import Proposal
from ..model.data import CountData
from ..model.marginal import MarginalLikelihood
from ..model.zeros import ZeroCalibration, dropped_zeros, zero_calibration
from ..stats.crossed import CrossedMean, crossed_mean
from ..stats.equivalence import Position, conclude, default_rope, position
from ..stats.zero_excess import ZeroExcess, zero_excess
from ._marginal import Restart, evaluate_restarts
from ._setup import Run, Sample, Seeds, Setup, prepare
from ._trained import Trained, train

AUTO_ROUNDS = (3, 5, 10, 20)  # restarts after which it is asked whether they suffice
RIVAL_ROUNDS = (3, 5)  # of the two models with a dispersion per gene and cell
N_DRAWS = 2  # from the posterior, where the sum is over thousands of entries
MOST_CELLS, MOST_DRAWN = 20_000, 2_000  # whose zeros are counted, and are drawn again


@dataclass(frozen=True)
class Method:
    """How NB and ZINB are compared; parameters as for `model_selection`."""

    n_restarts: int | Literal["auto"]
    alpha: float
    rope: float | None
    n_samples: int
    n_null: int
    proposal: Proposal
    seed: int
    run: Run

    @property
    def rounds(self) -> Sequence[int]:
        """Numbers of restarts after which to ask whether they suffice."""
        return AUTO_ROUNDS if self.n_restarts == "auto" else (self.n_restarts,)

    def once(self) -> Method:
        """With one restart."""
        return replace(self, n_restarts=1)

    def apart(self) -> Method:
        """For other counts than those that a folder of finished restarts is about."""
        return replace(self, run=replace(self.run, resume=None))

    def compare(self, sample: Sample, settings: FitSettings) -> Comparison:
        """Fit both models to a sample, and compare them."""
        return self.compare_on(prepare(sample, settings, Seeds.spawn(self.seed).split, self.run.device))

    def compare_on(self, setup: Setup, rounds: Sequence[int] = ()) -> Comparison:
        """Train pairs of models until it is clear which is better."""
        fit: Trained | None = None
        estimates: dict[Restart, MarginalLikelihood] = {}
        for n_restarts in rounds or self.rounds:
            fit = train(setup, Seeds.spawn(self.seed, n_restarts), self.run, known=fit)
            estimates |= self.evaluate(fit, known=estimates)
            found = Comparison(self, fit, dict(sorted(estimates.items())))
            if found.position != "open":
                break
        return found

    def evaluate(
        self, fit: Trained, known: Mapping[Restart, MarginalLikelihood] = {}
    ) -> dict[Restart, MarginalLikelihood]:
        """Estimate the log likelihood of the test cells under the restarts that are not known yet."""
        restarts = [(name, restart) for name in fit.models for restart in fit.restarts(name)]
        return evaluate_restarts(
            fit,
            fit.data,
            [restart for restart in restarts if restart not in known],
            fit.cells("test"),
            n_samples=self.n_samples,
            proposal=self.proposal,
            rng=self.seed,
            n_jobs=self.run.n_jobs,
            executor=self.run.executor,
        )


@dataclass(frozen=True)
class Comparison:
    """What the test cells say of the two models."""

    method: Method
    fit: Trained
    estimates: Mapping[Restart, MarginalLikelihood]

    @property
    def data(self) -> CountData:
        return self.fit.data

    @cached_property
    def cells(self) -> np.ndarray:
        """The test cells, by index."""
        return self.fit.cells("test")

    @property
    def restarts(self) -> list[int]:
        """Those that did not fail for either model."""
        return sorted(set(self.fit.restarts("nb")) & set(self.fit.restarts("zinb")))

    def log_likelihood(self, restart: Restart) -> np.ndarray:
        """Of each test cell, nats, (n_cells,)."""
        return log_likelihood(self.estimates[restart])

    @cached_property
    def gains(self) -> np.ndarray:
        """Log likelihood under the ZINB minus that under the NB, nats, (n_restarts, n_cells)."""
        pairs = [(self.log_likelihood(("zinb", r)), self.log_likelihood(("nb", r))) for r in self.restarts]
        if not pairs:
            raise RuntimeError("no restart succeeded for both models; see uns for the failures.")
        return np.stack([zinb - nb for zinb, nb in pairs])

    @cached_property
    def difference(self) -> CrossedMean:
        """Mean of `gains`, with its error over cells and restarts."""
        return crossed_mean(self.gains)

    @property
    def nll(self) -> float:
        """The NB's, averaged over restarts, nats per cell."""
        return -float(np.mean([self.log_likelihood(("nb", r)).mean() for r in self.restarts]))

    @property
    def rope(self) -> float:
        """Half-width of the region of practical equivalence, nats per cell."""
        given = self.method.rope
        return default_rope(self.nll) if given is None else given

    @property
    def position(self) -> Position:
        """Where the interval of the difference lies."""
        return position(*self.difference.interval(1 - self.method.alpha), self.rope)

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

    @cached_property
    def rival(self) -> Comparison | None:
        """The same with a dispersion per gene and cell for both models; None where it is not asked for.

        It is where the ZINB is above the region: an NB whose dispersion is the same in all cells lacks zeros
        in those in which it is larger, and a dropout head makes them.
        """
        setup = self.fit.setup
        if self.position != "above" or setup.settings.configs["nb"].dispersion == "gene-cell":
            return None
        free = replace(setup, settings=setup.settings.changed(dispersion="gene-cell"))
        asked = self.method.n_restarts
        most = RIVAL_ROUNDS[-1] if asked == "auto" else asked
        rounds = sorted({min(n, most) for n in RIVAL_ROUNDS})
        return self.method.compare_on(free, rounds)

    def dropped(self) -> dict[int, float]:
        """Share of the test cells' zeros that each restart of the ZINB makes by dropout."""
        device = self.data.device
        cells = torch.as_tensor(self.cells, device=device)
        settings = {"n_draws": N_DRAWS, "seed": self.method.seed}
        return {
            restart: dropped_zeros(self.fit.load("zinb", device, restart), self.data, cells, **settings)
            for restart in self.fit.restarts("zinb")
        }

    def gain_of(self, rival: Comparison) -> CrossedMean:
        """Log likelihood of the test cells under the NB of a rival, minus that under this NB."""
        return crossed_mean(np.stack([*self.gains_of(rival.estimates).values()]))

    def gains_of(self, estimates: Mapping[Restart, MarginalLikelihood]) -> dict[int, np.ndarray]:
        """The same of each test cell, by restart, (n_cells,) each."""
        shared = sorted(r for r in self.restarts if ("nb", r) in estimates)
        return {r: log_likelihood(estimates["nb", r]) - self.log_likelihood(("nb", r)) for r in shared}

    @property
    def explained_by(self) -> Explanation:
        """What explains that the ZINB predicts better, if its gain or the excess zeros do not survive."""
        if self.rival is None or self.rival.is_inflated:
            return Explanation.NONE
        return Explanation.DISPERSION

    @property
    def verdict(self) -> str:
        """The verdict, without twins, groups and covariates."""
        return conclude(self.position, self.is_inflated and not self.explained_by)


def log_likelihood(estimate: MarginalLikelihood) -> np.ndarray:
    """Of each cell under the one model that was evaluated, nats, (n_cells,)."""
    return estimate.log_likelihood[0].numpy(force=True)


def _some(cells: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many of them."""
    if len(cells) <= most:
        return cells
    return np.sort(np.random.default_rng(seed).choice(cells, most, replace=False))
