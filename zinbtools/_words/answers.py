"""The words for what was found of the counts and of each gene; they are stored as they stand here."""

from __future__ import annotations

from enum import StrEnum


class Answer(StrEnum):
    """Whether counts should be zero-inflated, by a comparison of NB and ZINB."""

    ZINB = "zinb"
    NB = "nb"
    NO_DIFFERENCE = "no practical difference"
    BETTER_FIT_ONLY = "better fit, not zero inflation"


class Call(StrEnum):
    """Whether a gene is zero-inflated, given the state of each cell."""

    ZERO_INFLATED = "zero-inflated"
    NOT_ZERO_INFLATED = "not zero-inflated"
    UNDECIDED = "undecided"


class GeneClass(StrEnum):
    """The simplest account of a gene, by library size only and given the state of each cell."""

    POISSON = "Poisson suffices"
    NB = "NB suffices"
    EXPLAINED = "zero-inflated, explained by cell state"
    UNDECIDED = "zero-inflated, undecided given cell state"
    ZERO_INFLATED = "zero-inflated given cell state"
