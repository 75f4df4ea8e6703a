"""What it costs to look more than once: answers of ``n_restarts="auto"`` where an edge of the region is true.

``python tests/benchmarks/looks.py [--sets 4000]`` draws tables of differences by restart and cell whose true
mean is the upper edge of the region of practical equivalence, and counts how often an interval of 95 % leaves
the edge, to either side, at the first look, and at any of the looks after 3, 5, 10 and 20 restarts.
"""

from __future__ import annotations

import argparse

import numpy as np

from zinbtools.stats.crossed import crossed_mean
from zinbtools.stats.equivalence import position
from zinbtools.tl._comparison import AUTO_ROUNDS

N_CELLS = 200
SPREADS = {"cells alone": (1.0, 0.0), "cells and seeds alike": (1.0, 1.0), "seeds alone": (0.0, 1.0)}


def looks(random: np.random.Generator, of_cells: float, of_restarts: float) -> tuple[str, str]:
    """The answer at the first look, and after all that were needed; errors are of 0.05 at first."""
    cells = 0.05 * np.sqrt(N_CELLS) * of_cells * random.standard_normal(N_CELLS)
    restarts = 0.05 * np.sqrt(3) * of_restarts * random.standard_normal(AUTO_ROUNDS[-1])
    rest = 0.2 * random.standard_normal((AUTO_ROUNDS[-1], N_CELLS))
    table, rope = 1.0 + cells + restarts[:, None] + rest, 1.0
    first = ""
    for n in AUTO_ROUNDS:
        found = position(*crossed_mean(table[:n]).interval(), rope)
        first = first or found
        if found != "open":
            break
    return first, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=4000)
    sets = parser.parse_args().sets
    random = np.random.default_rng(0)
    print("| what varies | beyond, first look | beyond, any look | within, first look | within, any look |")
    print("| --- | --- | --- | --- | --- |")
    for name, spread in SPREADS.items():
        answers = [looks(random, *spread) for _ in range(sets)]
        shares = [
            f"{100 * np.mean([pair[k] == where for pair in answers]):.1f} %"
            for where in ("above", "inside")
            for k in (0, 1)
        ]
        print(f"| {name} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
