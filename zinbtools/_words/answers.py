"""The words for what was found of the counts and of each gene; they are stored as they stand here."""

from __future__ import annotations

from enum import StrEnum


class Answer(StrEnum):
    """Whether counts should be zero-inflated, by a comparison of NB and ZINB, and of both with rivals."""

    ZINB = "zinb"
    BETTER_FIT_ONLY = "better fit, not zero inflation"
    NB = "nb"
    NO_DIFFERENCE = "no practical difference"
    UNDECIDED = "undecided"


class Explanation(StrEnum):
    """What explains that a ZINB predicts better, or a gene's zeros, where it is not zero inflation."""

    NONE = ""
    DISPERSION = "dispersion"
    AMPLIFICATION = "amplification"
    GROUPS = "groups"
    COVARIATE = "covariate"


def of_obs(column: str) -> str:
    """Name a column so that it cannot be taken for an explanation.

    Examples
    --------
    >>> of_obs("dispersion") == Explanation.DISPERSION
    False
    >>> print(of_obs("dispersion"))
    obs['dispersion']
    """
    return f"obs[{column!r}]"


class Call(StrEnum):
    """Where the interval of a gene's dropout probability lies, given the state of each cell."""

    ZERO_INFLATED = "zero-inflated"
    NEGLIGIBLE = "negligible"
    UNDECIDED = "undecided"


class GeneClass(StrEnum):
    """The simplest account of a gene, by library size only and given the state of each cell."""

    POISSON = "Poisson suffices"
    NB = "NB suffices"
    EXPLAINED = "zero-inflated, explained by cell state"
    UNDECIDED = "zero-inflated, undecided given cell state"
    ZERO_INFLATED = "zero-inflated given cell state"


class Cause(StrEnum):
    """The simplest account of a gene's zeros that suffices, in the order in which they are tried."""

    NONE = "none"
    DISPERSION = "dispersion"
    COVARIATE = "covariate"
    AMPLIFICATION = "amplification"
    BURSTING = "bursting"
    DROPOUT = "dropout"
    CANNOT_TELL = "cannot tell"
