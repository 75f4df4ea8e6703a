"""The verdict in one word and one plain sentence, before any number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._words.answers import Answer, Explanation
from ._sentence import OPENINGS

SYMBOLS = {
    Answer.ZINB: "▲",
    Answer.NB: "●",
    Answer.NO_DIFFERENCE: "■",
    Answer.BETTER_FIT_ONLY: "◆",
    Answer.UNDECIDED: "○",
}
_EXPLAINED = {
    Explanation.DISPERSION: "a dispersion that differs between cells explains that",
    Explanation.AMPLIFICATION: "the copies of molecules that reads are explain that",
    Explanation.GROUPS: "differences between the groups explain that",
    Explanation.COVARIATE: "a column of obs explains the zeros of some genes, and no others are in excess",
    Explanation.NONE: "there are no more zeros than the NB expects",
}


def headline(found: Mapping[str, Any]) -> str:
    """Say the answer in a word or a few."""
    return OPENINGS[Answer(found["verdict"])]


def plain(found: Mapping[str, Any]) -> str:
    """Say in one sentence what the answer means, with no number but how large the difference is."""
    answer = Answer(found["verdict"])
    row = found["differences"].set_index("model").loc["zinb"]
    if answer is Answer.NB:
        return "The ZINB describes cells that it has not seen no better than the NB: take the NB."
    if answer is Answer.NO_DIFFERENCE:
        return (
            "NB and ZINB describe cells that they have not seen equally well: take the NB, which is simpler."
        )
    if answer is Answer.UNDECIDED:
        return "These cells do not tell whether the ZINB describes others better by as much as would matter."
    better = f"The ZINB describes cells that it has not seen better{_times(row['difference'], row['rope'])}"
    if answer is Answer.BETTER_FIT_ONLY:
        return f"{better}, but {_EXPLAINED[Explanation(found['explained_by'])]}."
    return f"{better}, and nothing that was asked explains the zeros but dropout."


def _times(difference: float, rope: float) -> str:
    """Compare with what makes no practical difference, where that is not nothing."""
    ratio = difference / rope if rope > 0 else 0.0
    return f", by {ratio:,.0f} times what would matter" if ratio >= 2 else " by more than would matter"
