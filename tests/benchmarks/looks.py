"""What it costs to look more than once: answers of ``n_restarts="auto"`` where an edge of the region is true.

``python tests/benchmarks/looks.py [--sets 4000]`` draws tables of differences by restart and cell, on one
split, by folds, and on one split and then by folds where that leaves the answer open. Their true mean is the
upper edge of the region of practical equivalence. It counts how often an interval of 95 % leaves the edge, to
either side, at the first look, and at any of the looks, and how many pairs of models that takes.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from zinbtools.stats.crossed import crossed_mean
from zinbtools.stats.equivalence import position
from zinbtools.tl._comparison import AUTO_FOLDS, AUTO_ROUNDS, FOLD_ROUNDS

N_CELLS, ROPE = 200, 1.0  # of one split, and in all by folds at once
WAYS = {
    "one split": [(1, AUTO_ROUNDS)],
    "ten folds": [(AUTO_FOLDS, FOLD_ROUNDS)],
    "one split, then ten folds": [(1, AUTO_ROUNDS[:1]), (AUTO_FOLDS, FOLD_ROUNDS[:2])],
}
SPREADS = {"cells alone": (1.0, 0.0), "cells and seeds alike": (1.0, 1.0), "seeds alone": (0.0, 1.0)}


def looks(random: np.random.Generator, way: str, of_cells: float, of_restarts: float) -> tuple[str, str, int]:
    """The answer at the first look, that after all that were needed, and how many pairs of models."""
    first, found, n_pairs = "", "", 0
    of_all_cells = random.standard_normal((AUTO_FOLDS, 1, N_CELLS))
    for n_folds, rounds in WAYS[way]:
        n_cells = N_CELLS // n_folds if way == "ten folds" else N_CELLS
        n_rows = 0
        cells = 0.05 * np.sqrt(N_CELLS) * of_cells * of_all_cells[:n_folds, :, :n_cells]
        n_first = WAYS[way][0][0] * WAYS[way][0][1][0]
        shape = (n_folds, rounds[-1], n_cells)
        restarts = 0.05 * np.sqrt(n_first) * of_restarts * random.standard_normal((*shape[:2], 1))
        tables = ROPE + cells + restarts + 0.2 * random.standard_normal(shape)
        for n_rows in rounds:
            mean = crossed_mean(*tables[:, :n_rows])
            found = position(*mean.interval(), ROPE)
            first = first or found
            if found != "open" or not mean.may_leave(ROPE, rounds[-1]):
                break
        n_pairs += n_folds * n_rows
        if found != "open":
            break
    return first, found, n_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=4000)
    sets = parser.parse_args().sets
    random = np.random.default_rng(0)
    looks_at = "beyond, first look | beyond, any look | within, first look | within, any look"
    print(f"| looks | what varies | {looks_at} | pairs |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for way, (name, spread) in product(WAYS, SPREADS.items()):
        answers = [looks(random, way, *spread) for _ in range(sets)]
        below = {"inside", "below", "below or inside"}
        shares = [
            f"{100 * np.mean([answer[k] in where for answer in answers]):.1f} %"
            for where in ({"above"}, below)
            for k in (0, 1)
        ]
        pairs = np.mean([answer[2] for answer in answers])
        print(f"| {way} | {name} | {' | '.join(shares)} | {pairs:.0f} |")


if __name__ == "__main__":
    main()
