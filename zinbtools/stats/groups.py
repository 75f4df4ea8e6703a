"""Whether what all cells show together is a matter of differences between groups of them."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def within_regions(n_cells: Floats, difference: Floats, se: Floats, rope: Floats, alpha: float) -> bool:
    """Say whether groups, (n_groups,) each, are together clearly within or below their regions.

    That none of them is above its own is not enough: each has fewer cells than all. So their differences are
    averaged, by their cells, and the interval of level ``1 - alpha`` must not reach beyond the average of the
    regions.

    Examples
    --------
    >>> two = np.ones(2)
    >>> within_regions(two, 0.1 * two, 0.1 * two, 0.5 * two, 0.05), within_regions(two, two, two, two, 0.05)
    (True, False)
    """
    weight = n_cells / n_cells.sum()
    error = float(np.sqrt(weight**2 @ se**2))
    return float(weight @ (difference - rope)) + float(scipy.stats.norm.isf(alpha / 2)) * error <= 0
