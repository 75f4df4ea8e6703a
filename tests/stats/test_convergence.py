"""What tells a training that came to its end from one that was cut short."""

from __future__ import annotations

import numpy as np
import pytest

from zinbtools.stats.convergence import late_rise, training_health


def annealed(n_epochs: int) -> np.ndarray:
    """An ELBO that levels off in however many epochs, as where the learning rate falls to zero."""
    return -100.0 - 10 * np.cos(np.pi / 2 * np.linspace(0, 1, n_epochs)) ** 8


@pytest.mark.parametrize(
    ("n_epochs", "state"), [(3, "short"), (10, "short"), (74, "short"), (75, "finished"), (100, "finished")]
)
def test_a_short_run_levels_off_and_is_short(n_epochs: int, state: str) -> None:
    elbo = annealed(n_epochs)
    assert n_epochs == 3 or late_rise(elbo) < 1e-3
    assert training_health(elbo, n_epochs, asked=100) == state


def test_a_run_that_stopped_by_itself_is_finished() -> None:
    assert training_health(annealed(30), 50, asked=100) == "finished"


def test_a_rise_counts_at_the_end_only() -> None:
    rising = -140.0 + np.arange(40.0)
    assert training_health(rising, 40, asked=40) == "unfinished"
    assert training_health(rising, 40, asked=None) == "unfinished"
    later_worse = np.concatenate([rising, np.full(10, -500.0)])
    assert training_health(later_worse, 50, asked=50) == "finished"


def test_epochs_that_are_not_known_are_left_out() -> None:
    elbo = np.full(40, np.nan)
    assert np.isnan(late_rise(elbo))
    assert training_health(elbo, 40, asked=40) == "finished"
    elbo[::10] = [-400.0, -300.0, -200.0, -100.0]
    assert late_rise(elbo) == 1.0
    assert training_health(elbo, 40, asked=40) == "unfinished"
