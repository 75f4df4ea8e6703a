"""Whether what all cells show together is a matter of differences between groups of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .._words.answers import Answer

if TYPE_CHECKING:
    import pandas as pd


def explained_by_groups(groups: pd.DataFrame, alpha: float) -> bool:
    """Say whether no group is zero-inflated, and together they are clearly within or below their regions.

    That none of them is found to be is not enough: each has fewer cells than all. So their differences are
    averaged, by their cells, and the interval must not reach beyond the average of the regions.

    Parameters
    ----------
    groups
        A row per group: ``n_cells``, ``difference``, ``se``, ``rope`` and ``verdict``, empty where it was
        not compared.

    Examples
    --------
    >>> import pandas as pd
    >>> groups = pd.DataFrame(
    ...     {"n_cells": [500, 400], "difference": [0.1, -0.1], "se": [0.1, 0.1], "rope": 0.5, "verdict": "undecided"}
    ... )
    >>> explained_by_groups(groups, 0.05), explained_by_groups(groups.assign(rope=0.1), 0.05)
    (True, False)
    """
    judged = groups[groups["verdict"] != ""]
    if not len(judged) or (judged["verdict"] == Answer.ZINB).any():
        return False
    weight = judged["n_cells"].to_numpy(dtype=np.float64)
    weight /= weight.sum()
    mean = float(weight @ judged["difference"].to_numpy())
    se = float(np.sqrt(weight**2 @ judged["se"].to_numpy() ** 2))
    rope = float(weight @ judged["rope"].to_numpy())
    return mean + float(stats.norm.isf(alpha / 2)) * se <= rope
