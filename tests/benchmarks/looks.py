"""What it costs to look more than once: answers of ``n_restarts="auto"`` where an edge of the region is true.

``python tests/benchmarks/looks.py [--sets 4000]`` draws tables of differences by restart and cell, on one
split and by folds, whose true mean is the upper edge of the region of practical equivalence, and counts how
often an interval of 95 % leaves the edge, to either side, at the first look, and at any of the looks.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from zinbtools.stats.crossed import crossed_mean
from zinbtools.stats.equivalence import position
from zinbtools.tl._comparison import AUTO_FOLDS, AUTO_ROUNDS, FOLD_ROUNDS

N_CELLS = 200
ROUNDS = {1: AUTO_ROUNDS, AUTO_FOLDS: FOLD_ROUNDS}
SPREADS = {"cells alone": (1.0, 0.0), "cells and seeds alike": (1.0, 1.0), "seeds alone": (0.0, 1.0)}


def looks(random: np.random.Generator, n_folds: int, of_cells: float, of_restarts: float) -> tuple[str, str]:
    """The answer at the first look, and after all that were needed; errors are of 0.05 at first."""
    rounds, shape = ROUNDS[n_folds], (n_folds, ROUNDS[n_folds][-1], N_CELLS // n_folds)
    cells = 0.05 * np.sqrt(N_CELLS) * of_cells * random.standard_normal((n_folds, 1, shape[2]))
    restarts = 0.05 * np.sqrt(n_folds * rounds[0]) * of_restarts * random.standard_normal((*shape[:2], 1))
    tables, rope = 1.0 + cells + restarts + 0.2 * random.standard_normal(shape), 1.0
    first = ""
    for n in rounds:
        found = position(*crossed_mean(*tables[:, :n]).interval(), rope)
        first = first or found
        if found != "open":
            break
    return first, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=4000)
    sets = parser.parse_args().sets
    random = np.random.default_rng(0)
    looks_at = "beyond, first look | beyond, any look | within, first look | within, any look"
    print(f"| folds | what varies | {looks_at} |")
    print("| --- | --- | --- | --- | --- | --- |")
    for n_folds, (name, spread) in product(ROUNDS, SPREADS.items()):
        answers = [looks(random, n_folds, *spread) for _ in range(sets)]
        shares = [
            f"{100 * np.mean([pair[k] == where for pair in answers]):.1f} %"
            for where in ("above", "inside")
            for k in (0, 1)
        ]
        print(f"| {n_folds} | {name} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
