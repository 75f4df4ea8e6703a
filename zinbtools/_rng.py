"""Seeds: whatever a user gives becomes a numpy SeedSequence, and each purpose gets a child of its own."""

from __future__ import annotations

import numpy as np

RNG = int | np.integer | np.random.Generator | np.random.SeedSequence


def seed_sequence(rng: RNG) -> np.random.SeedSequence:
    """SeedSequence from an int, a Generator (which advances) or a SeedSequence (which is left as it is)."""
    if isinstance(rng, np.random.Generator):
        return np.random.SeedSequence(rng.integers(2**63, size=2).tolist())
    if isinstance(rng, np.random.SeedSequence):
        return np.random.SeedSequence(rng.entropy, spawn_key=rng.spawn_key)
    if isinstance(rng, int | np.integer) and rng >= 0:
        return np.random.SeedSequence(int(rng))
    raise TypeError(f"rng must be a non-negative int, a numpy Generator or a SeedSequence, found {rng!r}.")


def integers(sequence: np.random.SeedSequence, n: int) -> list[int]:
    """``n`` seeds of 63 bits."""
    return [int(word >> np.uint64(1)) for word in sequence.generate_state(n, np.uint64)]


def integer(rng: RNG) -> int:
    """One seed of 63 bits."""
    return integers(seed_sequence(rng), 1)[0]
