"""Counts of genes with known truth, and their likelihood by scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats


def log_probabilities(x: np.ndarray, mu: np.ndarray, theta: float, pi: float) -> np.ndarray:
    """Of a zero-inflated NB, or Poisson where theta is infinite."""
    nb = stats.nbinom(theta, theta / (theta + mu)) if np.isfinite(theta) else stats.poisson(mu)
    plain = nb.logpmf(x)
    with np.errstate(divide="ignore"):
        return np.where(x == 0, np.logaddexp(np.log(pi), np.log1p(-pi) + plain), np.log1p(-pi) + plain)


def draw(n: int, means: list[float], theta: float, pi: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    depth = random.lognormal(0, 0.4, n)
    rates = depth[:, None] * np.array(means)
    x = random.poisson(random.gamma(theta, rates / theta)) * (random.random(rates.shape) >= pi)
    return x, depth


def curvature(height: Callable[[np.ndarray], float], at: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """Second derivatives by central differences."""
    steps = h * np.eye(len(at))
    return np.array(
        [
            [
                (height(at + i + j) - height(at + i - j) - height(at - i + j) + height(at - i - j))
                for j in steps
            ]
            for i in steps
        ]
    ) / (4 * h**2)


def copied(molecules: np.ndarray, copies: np.ndarray, shape: float, seed: int = 0) -> np.ndarray:
    """Reads of molecules, each of which has ``1 + NB(copies - 1, shape)``."""
    random = np.random.default_rng(seed)
    size = np.maximum(molecules, 1e-12) * shape
    return molecules + random.poisson(random.gamma(size, (copies - 1) / shape) * (molecules > 0))
