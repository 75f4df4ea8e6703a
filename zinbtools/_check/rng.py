"""Turn any kind of seed into a numpy SeedSequence, of which each purpose gets a child of its own."""

from __future__ import annotations

import numpy as np

RNG = int | np.integer | np.random.Generator | np.random.RandomState | np.random.SeedSequence | None


def seed_sequence(rng: RNG) -> np.random.SeedSequence:
    """Make a SeedSequence from any seed.

    A Generator or RandomState advances, a SeedSequence is left as it is, None differs from call to call.
    """
    if isinstance(rng, np.random.Generator):
        return np.random.SeedSequence(rng.integers(2**63, size=2).tolist())
    if isinstance(rng, np.random.RandomState):
        return np.random.SeedSequence(rng.randint(0, 2**32, size=4, dtype=np.uint32).tolist())
    if isinstance(rng, np.random.SeedSequence):
        return np.random.SeedSequence(rng.entropy, spawn_key=rng.spawn_key)
    return np.random.SeedSequence(None if rng is None else int(rng))


def generator(rng: RNG) -> np.random.Generator:
    """Make a Generator from any seed; a Generator is given back itself."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(seed_sequence(rng))


def integers(sequence: np.random.SeedSequence, n: int) -> list[int]:
    """Draw ``n`` seeds of 63 bits."""
    return [int(word >> np.uint64(1)) for word in sequence.generate_state(n, np.uint64)]


def integer(rng: RNG) -> int:
    """Draw one seed of 63 bits."""
    return integers(seed_sequence(rng), 1)[0]


def as_integer(rng: RNG) -> int:
    """Draw one seed of 63 bits; a number of so many bits is its own seed."""
    return int(rng) if isinstance(rng, int | np.integer) and rng < 2**63 else integer(rng)
