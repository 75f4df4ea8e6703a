"""The words for what whole numbers may be instead of counts of molecules; stored as they stand here."""

from __future__ import annotations

from enum import StrEnum


class CountKind(StrEnum):
    """What whole numbers are, as far as it can be seen in them."""

    MOLECULES = "molecules"
    READS = "reads"
    MULTIPLES = "multiples"
    SCALED = "scaled"
    DOWNSAMPLED = "downsampled"
    LOGS = "log-transformed"


_MEANING = {
    CountKind.READS: (
        "These look like reads, not molecules: copies of molecules look like zero inflation; "
        "give the molecules (UMI) if there are some, and do not take the answer for one about dropout"
    ),
    CountKind.MULTIPLES: (
        "These look like counts that were multiplied, which look zero-inflated to the models; "
        "divide them, or give molecules or reads as they were counted"
    ),
    CountKind.SCALED: (
        "These look like numbers that were normalised or corrected and then rounded, and are no counts to "
        "the models; give molecules or reads as they were counted"
    ),
    CountKind.DOWNSAMPLED: (
        "These look like counts that were drawn to one depth, which throws most of them away; "
        "give the counts before that, the models allow for depth"
    ),
    CountKind.LOGS: (
        "These look like logs that were rounded, and are no counts to the models; "
        "give molecules or reads as they were counted"
    ),
}


def advice(kind: CountKind) -> str:
    """Say what such numbers mean to the models and what to do, without a full stop; empty for molecules.

    Examples
    --------
    >>> advice(CountKind.LOGS).partition(",")[0], advice(CountKind.MOLECULES)
    ('These look like logs that were rounded', '')
    """
    return _MEANING.get(kind, "")
