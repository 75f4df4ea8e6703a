"""The verdict in one word and one plain sentence, before any number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._words.answers import Answer, Cause, Explanation
from .._words.numbers import counted
from ._sentence import OPENINGS, causes_of_inflated, inflated_genes

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
    Explanation.COVARIATE: (
        "a column of obs explains the zeros of some genes, and the others have no excess beyond chance"
    ),
    Explanation.NONE: "there is no excess of zeros beyond chance",
}


def headline(found: Mapping[str, Any]) -> str:
    """Say the answer in a word or a few."""
    return OPENINGS[Answer(found["verdict"])]


def plain(found: Mapping[str, Any]) -> str:
    """Say in one sentence what the answer means, with no number but how large the difference is."""
    answer = Answer(found["verdict"])
    row = found["differences"].set_index("model").loc["zinb"]
    if answer is Answer.NB:
        return (
            "The ZINB does not describe cells that it has not seen better than the NB by as much as would "
            "matter: take the NB."
        )
    if answer is Answer.NO_DIFFERENCE:
        return (
            "NB and ZINB describe cells that they have not seen equally well, to within what would matter: "
            "take the NB, which is simpler."
        )
    if answer is Answer.UNDECIDED:
        return "These cells do not tell whether the ZINB describes others better by as much as would matter."
    better = f"The ZINB describes cells that it has not seen better{_times(row['difference'], row['rope'])}"
    if answer is Answer.BETTER_FIT_ONLY:
        return f"{better}, but {_EXPLAINED[Explanation(found['explained_by'])]}."
    return f"{better}, and {_unexplained(found)}{_of_genes(found)}."


def _unexplained(found: Mapping[str, Any]) -> str:
    """Say what was asked, beside the genes' causes, and does not explain the zeros."""
    asked = ["a dispersion that differs between cells"]
    if (found["rivals"]["model"] == "nb-amplified").any():
        asked.append("copies of molecules")
    if "groups" in found:
        asked.append("differences between the groups")
    neither = f"neither {', '.join(asked[:-1])} nor {asked[-1]} explain" if asked[1:] else ""
    return f"{neither or f'{asked[0]} does not explain'} all of the zeros"


def _of_genes(found: Mapping[str, Any]) -> str:
    """Count the genes that lose counts, that are in bursts, and that may do either."""
    genes, of = inflated_genes(found["calls"]), causes_of_inflated(found["calls"])
    if not of:
        return ""
    told = [
        f"dropout fits {of[Cause.DROPOUT]:,} better than bursts do" if of[Cause.DROPOUT] else "",
        f"bursts fit {of[Cause.BURSTING]:,} better than dropout does" if of[Cause.BURSTING] else "",
        f"{of[Cause.CANNOT_TELL]:,} may be either" if of[Cause.CANNOT_TELL] else "",
    ]
    return f"; of {counted(len(genes), 'zero-inflated gene')} {', '.join(filter(None, told))}"


def _times(difference: float, rope: float) -> str:
    """Compare with what makes no practical difference, where that is not nothing."""
    ratio = difference / rope if rope > 0 else 0.0
    return f", by {ratio:,.0f} times what would matter" if ratio >= 2 else " by more than would matter"
