"""Do intervals over studies cover, and is replicability held? Families of studies with known truth.

``python tests/benchmarks/meta.py [--families 500]`` prints the tables of docs/meta.md. Families have 5 to 20
studies whose standard errors differ by a factor of about three; tau is in units of the median error.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from zinbtools.stats.partial_conjunction import n_replicated
from zinbtools.stats.random_effects import RandomEffects, random_effects

TAU = (0.0, 0.5, 1.0, 3.0)
TRUE = 0.5
EDGES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)  # of probabilities that are told


def formula(found: RandomEffects) -> tuple[float, float]:
    """The prediction interval of Higgins, Thompson and Spiegelhalter (2009)."""
    half = stats.t.isf(0.025, found.n_studies - 2) * np.sqrt(found.tau2 + found.covariance[0, 0])
    return found.coefficients[0] - half, found.coefficients[0] + half


def coverage(random: np.random.Generator, tau: float, n_families: int, sizes: tuple[int, int]) -> np.ndarray:
    """Shares of families whose mean, and whose next effect by the mixture and the formula, are covered."""
    covered = []
    for _ in range(n_families):
        k = random.integers(sizes[0], sizes[1] + 1)
        se = random.lognormal(0, 0.5, k)
        found = random_effects(TRUE + random.normal(0, tau, k) + se * random.normal(size=k), se)
        (low,), (high,) = found.interval()
        following = TRUE + random.normal(0, tau)
        inside = [a < following < b for a, b in (found.prediction(), formula(found))]
        covered.append([low < TRUE < high, *inside])
    return np.mean(covered, axis=0)


def told_and_true(random: np.random.Generator, n_families: int) -> np.ndarray:
    """Probabilities that the next effect is above 1, and whether it was, (2, n): families of any mean."""
    found = []
    for _ in range(n_families):
        for tau in TAU:
            k, mean = random.integers(5, 21), random.normal(0, 3)
            se = random.lognormal(0, 0.5, k)
            fit = random_effects(mean + random.normal(0, tau, k) + se * random.normal(size=k), se)
            found.append([fit.probability_above(1.0), mean + random.normal(0, tau) > 1])
    return np.array(found).T


def replicability(random: np.random.Generator, n_studies: int, n_sets: int) -> list[float]:
    """Mean share of false genes among those said to be called in at least r studies, for each r."""
    false = np.zeros((n_sets, n_studies))
    for of_set in false:
        share = random.choice([0.0, 0.3, 0.7], (500, 1), p=[0.7, 0.2, 0.1])
        there = random.random((500, n_studies)) < share
        pval = stats.norm.sf(random.normal(3.0 * there, 1)).T
        found = n_replicated(pval)
        for k in range(n_studies):
            said = found > k
            of_set[k] = (said & (there.sum(1) <= k)).sum() / max(said.sum(), 1)
    return false.mean(0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", type=int, default=500)
    n = parser.parse_args().families
    random = np.random.default_rng(2026)
    print("| tau | studies | mean covered | next effect covered | by the formula |")
    print("| --- | --- | --- | --- | --- |")
    for tau in TAU:
        for sizes in ((5, 9), (10, 20), (5, 20)):
            shares = " | ".join(f"{100 * share:.1f} %" for share in coverage(random, tau, n, sizes))
            print(f"| {tau:g} | {sizes[0]} to {sizes[1]} | {shares} |", flush=True)
    told, true = told_and_true(np.random.default_rng(7), n)
    place = np.digitize(told, EDGES)
    print("\n| told | came true | families |\n| --- | --- | --- |")
    for k in range(len(EDGES) + 1):
        here = place == k
        shares = " | ".join(f"{100 * share[here].mean():.1f} %" for share in (told, true))
        print(f"| {shares} | {here.sum():,} |", flush=True)
    print("\n| studies | false genes among those told, for the worst r | for r = 2 |\n| --- | --- | --- |")
    for n_studies in (3, 5, 10, 20):
        false = replicability(random, n_studies, 100)
        print(f"| {n_studies} | {100 * max(false):.1f} % | {100 * false[1]:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
