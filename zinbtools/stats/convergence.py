"""Judge from the ELBO of held-out cells whether a training had come to its end."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

State = Literal["finished", "short", "unfinished"]
Floats = NDArray[np.float64]

# Measured on two simulated and two real sets: three quarters of the epochs that the number of cells asks for
# gave the ELBO of all of them; half up to 3 thousandths less, a quarter up to 10, a tenth 25, 3 epochs 180.
ENOUGH = 0.75
# Full trainings on real counts rise by up to 1.4 thousandths: their epochs are asked for, no more.
RISING = 2.5e-3
_END = 0.9  # share of a run after which a best epoch lies at its end


def late_rise(elbo: Floats) -> float:
    """Compute by how much the best ELBO rose over the last quarter of the epochs, as a share of it.

    Parameters
    ----------
    elbo
        ELBO of held-out cells after each epoch, nats per cell; NaN is left out. NaN if nothing is left.

    Examples
    --------
    >>> late_rise(np.array([-200.0, -110.0, -100.0, -100.0, -101.0]))
    0.0
    >>> late_rise(np.array([-400.0, -300.0, -200.0, -110.0, -100.0]))
    0.1
    """
    best = np.fmax.accumulate(elbo[~np.isnan(elbo)])
    if not len(best) or not np.isfinite(best[-1]):
        return float("nan")
    return float((best[-1] - best[int(0.75 * (len(best) - 1))]) / abs(best[-1]))


def training_health(elbo: Floats, max_epochs: int, asked: int | None) -> State:
    """Say whether a training had come to its end.

    The rate falls to zero towards the last epoch, whichever that is, so that a run of three epochs levels off
    like one of a hundred: what tells them apart is how many there were.

    Parameters
    ----------
    elbo
        ELBO of held-out cells after each epoch, nats per cell, of one run.
    max_epochs
        How many epochs it might have had; a run of fewer was stopped for want of a gain.
    asked
        How many suit the number of cells, or the protocol; None if that is not known.

    Returns
    -------
    ``"short"``: fewer than three quarters of the epochs that were asked for. ``"unfinished"``: the best epoch
    is among the last tenth of a run whose best ELBO rose by more than a thousandth over its last quarter.
    ``"finished"``: neither.

    Examples
    --------
    >>> elbo = -100 - np.exp(-np.arange(40.0))
    >>> training_health(elbo, 40, asked=40), training_health(elbo[:3], 3, asked=40)
    ('finished', 'short')
    >>> training_health(-140 + np.arange(40.0), 40, asked=40)
    'unfinished'
    """
    if len(elbo) < max_epochs:
        return "finished"
    if asked is not None and max_epochs < ENOUGH * asked:
        return "short"
    known = elbo[~np.isnan(elbo)]
    at_the_end = len(known) > 0 and int(np.argmax(known)) >= _END * (len(known) - 1)
    return "unfinished" if at_the_end and late_rise(elbo) > RISING else "finished"
