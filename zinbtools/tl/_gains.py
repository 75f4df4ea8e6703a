"""What one model gains on another on the same test cells: of each fold, by restart, and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch

from ..model.config import Likelihood
from ..model.marginal import MarginalLikelihood
from ..stats.crossed import CrossedMean, crossed_mean
from ._marginal import Restart

Estimates: TypeAlias = Mapping[Restart, MarginalLikelihood]
#: Of each fold, by restart, (n_cells,) each.
Gains: TypeAlias = Sequence[Mapping[int, np.ndarray]]


def gains(model: Likelihood, ours: Sequence[Estimates], of_nb: Sequence[Estimates]) -> Gains:
    """Log likelihood of test cells under a model minus that under the NB with the same seed, nats."""
    return [
        {
            restart: log_likelihood(a[model, restart]) - log_likelihood(b["nb", restart])
            for name, restart in a
            if name == model and ("nb", restart) in b
        }
        for a, b in zip(ours, of_nb, strict=True)
    ]


def differences(ours: Gains | None, theirs: Gains) -> Gains:
    """Differences of what two models gain on a third, by fold and restart; for none that of the third."""
    if ours is None:
        return [{restart: -gain for restart, gain in pairs.items()} for pairs in theirs]
    return [
        {restart: gain - others[restart] for restart, gain in pairs.items() if restart in others}
        for pairs, others in zip(ours, theirs, strict=True)
    ]


def mean_gain(of_folds: Gains) -> CrossedMean:
    """Mean over cells and restarts of the folds in which a pair of models did not fail."""
    tables = [np.stack([*pairs.values()]) for pairs in of_folds if pairs]
    if not tables:
        raise RuntimeError("no restart succeeded for both models; see uns for the failures.")
    return crossed_mean(*tables)


def log_likelihood(estimate: MarginalLikelihood) -> np.ndarray:
    """Of each cell under the one model that was evaluated, nats, (n_cells,)."""
    return estimate.log_likelihood[0].numpy(force=True)


def joined(parts: Sequence[MarginalLikelihood]) -> MarginalLikelihood:
    """The same of the cells of several estimates; means by number of draws are left out."""
    of_cells = {
        name: torch.cat([getattr(part, name) for part in parts], dim=1)
        for name in MarginalLikelihood._fields
        if name != "by_draws"
    }
    return MarginalLikelihood(**of_cells, by_draws={})
