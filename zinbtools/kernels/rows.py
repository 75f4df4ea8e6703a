"""Arguments that several kernels share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Counts of M cells in compressed rows.

    Attributes
    ----------
    starts
        Where each row starts among the P positive counts, (M + 1,).
    genes, counts
        The positive counts and their genes, (P,).
    constant
        The share of each cell's log likelihood that depends on the data alone, nats, (M,).
    """

    starts: np.ndarray
    genes: np.ndarray
    counts: np.ndarray
    constant: np.ndarray


class Dispersion(NamedTuple):
    """Log inverse dispersions, (T, G), and each cell's row among them, (B,)."""

    log_theta: np.ndarray
    row: np.ndarray
