"""What many studies say together."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .._words.numbers import decimals, with_ends
from ..stats.random_effects import FEWEST_TO_PREDICT

ALL = "all"  # the group of all studies


@dataclass(frozen=True)
class MetaAnalysis:
    """What many studies say together; `zinbtools.tl.meta` makes it, and as text it has a sentence per group.

    Attributes
    ----------
    groups
        A row for each value of ``by`` and one for all: ``n_studies``, the mean ``effect``, its ``se``,
        interval ``low``, ``high`` and ``pval``; ``next_low``, ``next_high``, between which the true effect
        of another such study is expected, and ``next_above``, the probability that it is above ``region``;
        ``tau``, the standard deviation of the true effects, with ``tau_low`` and ``tau_high``; ``i2``, the
        share of the variance that is not error; Cochran's ``q`` and ``q_pval``. A group of one study has
        that study's effect and error. What cannot be said is NaN.
    studies
        A row for each study: ``effect``, ``se``, ``group``, its ``weight`` in the mean of the group, and
        ``without``, that mean if the study is left out.
    moderators
        A row for each coefficient: ``effect``, ``se``, ``low``, ``high``, ``pval``; empty without moderators.
    asymmetry_pval
        Do studies with larger errors find other effects (Egger's regression)? NaN for fewer than ten studies.
    region
        Effect above which there is a practical difference, or None.
    level
        Of all intervals.
    """

    groups: pd.DataFrame
    studies: pd.DataFrame
    moderators: pd.DataFrame
    asymmetry_pval: float
    region: float | None
    level: float

    def __str__(self) -> str:
        return "\n".join(self._sentence(str(name), row) for name, row in self.groups.iterrows())

    def _sentence(self, name: str, row: pd.Series) -> str:
        if row["n_studies"] == 1:
            return f"{name}: one study, {row['effect']:.3g}; nothing is known of others."
        means = f"{name}: {row['n_studies']:.0f} studies, on average "
        means += with_ends(row["effect"], row["low"], row["high"], f"{100 * self.level:.0f} % interval ")
        if row["n_studies"] < FEWEST_TO_PREDICT:
            return f"{means}; fewer than {FEWEST_TO_PREDICT} studies do not say what the next will show."
        digits = decimals(row["next_low"], row["next_high"])
        low, high = (f"{row[name]:z,.{digits}f}" for name in ("next_low", "next_high"))
        means += f"; the next is expected between {low} and {high}"
        if self.region is None:
            return f"{means}."
        return f"{means}, and beyond {self.region:g} with a probability of {100 * row['next_above']:.0f} %."
