"""The verdict in words: each sentence says one thing, with the numbers that it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._words.answers import Answer, Call, Cause, Explanation
from .._words.count_kinds import CountKind, advice
from .._words.numbers import counted, decimals, ends, in_words, percent, with_ends
from ..stats.crossed import CrossedMean
from ..stats.power import verdict_needs

_FEW_ZEROS = 100  # below which a percentage of them says little
_FEW_CELLS = 50
_NAMED = 5  # genes, at most
_POWER = 0.8  # with which what is undecided would be decided
_MOST_NEEDED = 1e5  # restarts or cells that are worth naming
OPENINGS = {
    Answer.ZINB: "Zero-inflate",
    Answer.NB: "Do not zero-inflate",
    Answer.NO_DIFFERENCE: "No practical difference",
    Answer.BETTER_FIT_ONLY: "Better fit, not zero inflation",
    Answer.UNDECIDED: "Undecided",
}
_RELATIONS = {
    "above": "beyond",
    "below": "beyond",
    "inside": "within",
    "below or inside": "below or within",
    "open": "neither within nor beyond",
}


def sentence(found: Mapping[str, Any]) -> str:
    """Say the verdict in a few sentences, with the numbers that led to it."""
    return " ".join(
        [
            *_difference(found),
            *_cells(found),
            *_copies(found),
            *_rival(found),
            _zeros(found),
            *_genes(found),
            *_groups(found),
            *_cautions(found),
        ]
    )


def _difference(found: Mapping[str, Any]) -> Iterator[str]:
    row = found["differences"].set_index("model").loc["zinb"]
    answer = Answer(found["verdict"])
    nll = float(row["nll"] + row["difference"])  # of the NB
    digits = decimals(row["low"], row["high"], row["rope"])
    yield (
        f"{OPENINGS[answer]}: on {_sample(row)} the ZINB's log likelihood minus the NB's is "
        f"{row['difference']:+z,.{digits}f} nats per cell ({_interval(row, _level(found), digits)}; "
        f"{percent(abs(row['difference']) / nll)} of the NB's {nll:,.4g}), {_RELATIONS[row['position']]} the "
        f"±{row['rope']:.{digits}f} that make no practical difference."
    )
    if answer is Answer.UNDECIDED:
        yield _advice(row, float(found["params"]["alpha"]))


def _sample(row: pd.Series) -> str:
    """Write on what the difference rests."""
    n_cells, restarts = int(row["n_cells"]), counted(int(row["n_restarts"]), "restart")
    if int(row["n_folds"]) == 1:
        return f"{counted(n_cells, 'test cell')} and {restarts}"
    folds = f"{counted(n_cells, 'cell')} in {in_words(int(row['n_folds']))} folds"
    return folds if int(row["n_restarts"]) == 1 else f"{folds} with {restarts} each"


def _cells(found: Mapping[str, Any]) -> Iterator[str]:
    """Say how many cells were used, and what all of them would change."""
    if "cells" not in found:
        return
    n_used, n_all = (int(found["cells"][name]) for name in ("n_used", "n_all"))
    mean = CrossedMean.of(found["differences"].set_index("model").loc["zinb"])
    of_all = mean.at(mean.n_rows, round(mean.n_columns * n_all / n_used))
    level = 1 - float(found["params"]["alpha"])
    now, then = (each.interval(level)[1] - each.mean for each in (mean, of_all))
    yield (
        f"These are results of {n_used:,} of {n_all:,} cells, drawn at random: the interval of as many "
        f"restarts on all would be about ±{then:.2g} where it is ±{now:.2g}, and more genes could be told."
    )


def _level(found: Mapping[str, Any]) -> str:
    return f"{100 * (1 - float(found['params']['alpha'])):g} %"


def _interval(row: pd.Series, level: str, digits: int) -> str:
    if row["se"] > 0:
        return f"{level} interval {ends(row['low'], row['high'], digits)}"
    return "one test cell: no interval" if int(row["n_cells"]) == 1 else "the same in all cells: no interval"


def _advice(row: pd.Series, alpha: float) -> str:
    """Say how many restarts, or test cells, would take the interval away from the upper edge."""
    mean = CrossedMean.of(row)
    needs = verdict_needs(mean, float(row["rope"]), power=_POWER, alpha=alpha)
    restarts, cells = needs if mean.se > 0 else (math.inf, math.inf)
    of_one, of_cells = ("restarts", "test cells") if mean.n_folds == 1 else ("restarts per fold", "cells")
    ways = [
        f"about {_rounded_up(n)} {what}"
        for n, what in ((restarts, of_one), (cells, of_cells))
        if n < _MOST_NEEDED
    ]
    chance = f"{100 * _POWER:g} %"
    if not ways:
        alone = f"Neither {of_one} nor {of_cells} alone, up to {_MOST_NEEDED:,.0f}"
        return f"{alone}, have a chance of {chance} to decide it."
    return f"If it stays as large, {' or '.join(ways)} have a chance of {chance} to decide it."


def _rounded_up(n: float) -> str:
    """Two digits."""
    unit = 10 ** max(math.floor(math.log10(max(n, 1))) - 1, 0)
    return f"{math.ceil(n / unit) * unit:,}"


def _copies(found: Mapping[str, Any]) -> Iterator[str]:
    """Say of reads what is left of the gain for copied molecules, and how often each was read."""
    rivals = found["rivals"].set_index("model")
    if "nb-amplified" not in rivals.index:
        return
    row, level = rivals.loc["nb-amplified"], _level(found)
    times = f"about {float(found['reads_per_molecule']):.2g} times"
    if found["explained_by"] == Explanation.AMPLIFICATION:
        but = f" of all but {counted(n, 'gene')}" if (n := len(inflated_genes(found["calls"]))) else ""
        yield f"Each molecule was read {times}; its copies, not lost molecules, explain the zeros{but}."
    else:
        yield f"Each molecule was read {times}."
    low, high = row["over_zinb_low"], row["over_zinb_high"]
    digits = decimals(low, high)
    more = with_ends(row["zinb_gain"], row["zinb_low"], row["zinb_high"])
    yield (
        f"Gene by gene, the log likelihood of an NB of copied molecules minus that of a ZINB of reads is "
        f"{row['over_zinb']:+z,.{digits}f} nats per cell ({level} interval {ends(low, high, digits)}), and a "
        f"dropout of molecules adds {more}."
    )


def _rival(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what is left of the gain with a dispersion per gene and cell."""
    rivals = found["rivals"].set_index("model")
    if "nb-gene-cell" not in rivals.index:
        return
    row = rivals.loc["nb-gene-cell"]
    left = with_ends(row["zinb_gain"], row["zinb_low"], row["zinb_high"], f"{_level(found)} interval ")
    left = f"With a dispersion per gene and cell in both models the gain is {left}"
    above, excess = row["zinb_position"] == "above", row["excess_zeros"]
    if above and excess:
        end = "and there are more zeros than this NB expects: the dispersion does not explain them"
    elif found["explained_by"] not in (Explanation.DISPERSION, Explanation.AMPLIFICATION):
        lacks = "leaves no excess of zeros" if above else "is no longer beyond the region"
        end = (
            f"which {lacks}; but many genes are zero-inflated where each is tested with a dispersion that "
            "depends on the state of the cell"
        )
    elif above:
        end = "but no excess of zeros beyond chance is left beside this NB: the dispersion explains them"
    else:
        end = "so that no gain of zero inflation is shown beyond what the dispersion explains"
    yield f"{left}, {end}."


def _zeros(found: Mapping[str, Any]) -> str:
    """Compare the zeros with those that the NB expects, corrected by what it gets wrong of its own counts."""
    pooled, n_genes = found["pooled_zeros"], len(found["zeros"])
    observed, expected = float(found["zeros"]["observed"].sum()), float(pooled["n_expected"])
    n_cells = int(pooled["n_cells"])
    n_entries = n_cells * n_genes
    entries = f"{n_entries:,} entries ({counted(n_cells, 'cell')}, {counted(n_genes, 'gene')})"
    excess = "an excess" if found["excess_zeros"] else "no excess"
    if min(observed, expected) < _FEW_ZEROS:
        numbers = f"{observed:,.0f} are zero, where the NB expects {expected:,.1f}"
    else:
        shares = percent(observed / n_entries), percent(expected / n_entries)
        more = "more" if observed > expected else "fewer"
        numbers = f"{shares[0]} are zero, where the NB expects {shares[1]}"
        excess = f"{percent(abs(observed / expected - 1))} {more} zeros, {excess}"
    return f"Of {entries} {numbers}: {excess} beyond chance."


def _genes(found: Mapping[str, Any]) -> Iterator[str]:
    """Say which genes are zero-inflated, and what explains the zeros of others."""
    calls = found["calls"]
    called = calls["call"].astype(str) == Call.ZERO_INFLATED
    by = calls["explained_by"].astype(str)
    inflated, n = inflated_genes(calls), len(found["zeros"])
    names = f": {_listed(inflated)}" if inflated else ""
    are = "are zero-inflated by themselves" if len(inflated) > 1 else "is zero-inflated by itself"
    yield f"{len(inflated) or 'None'} of {counted(n, 'gene')} {are}{names}."
    yield from _causes(calls)
    for column in dict.fromkeys(by[called & (by != "")]):
        told = calls[called & (by == column)]
        on = told["on_in"].astype(str)
        only = (
            f" ({_on(told['gene'].astype(str)[on != ''].tolist(), on[on != ''].tolist())})" if any(on) else ""
        )
        genes = _listed(told["gene"].astype(str).tolist())
        yield f"The zeros of {genes} follow {column}{only}: give it as a covariate."
    if found["explained_by"] == Explanation.COVARIATE:
        yield "Without these genes there is no excess of zeros beyond chance."
    n_dispersed = int((~called & (by == Explanation.DISPERSION)).sum())
    if n_dispersed:
        more = " more" if called.any() else ""
        genes = f"{n_dispersed:,}{more} gene{'s' if n_dispersed > 1 else ''}"
        yield f"The zeros of {genes} are explained by a dispersion that depends on the state of the cell."


def _causes(calls: pd.DataFrame) -> Iterator[str]:
    """Say how many of the genes that are zero-inflated are in bursts, lose counts, or may do either."""
    causes = causes_of_inflated(calls)
    if not causes:
        return
    n_bursts, n_dropout, n_open = causes.values()
    told = [
        f"{what} fits better than {other} in {counted(n, 'gene')}"
        for n, what, other in ((n_bursts, "bursting", "dropout"), (n_dropout, "dropout", "bursting"))
        if n
    ]
    if not told:
        yield "Whether by bursting or by dropout, the counts cannot tell."
        return
    if n_open:
        told.append(f"in {counted(n_open, 'gene')} the counts cannot tell bursting from dropout")
    yield f"Of these, {'; '.join(told)}."


def causes_of_inflated(calls: pd.DataFrame) -> dict[Cause, int]:
    """Count the genes that are zero-inflated by what made them so; nothing where there are none."""
    inflated = inflated_genes(calls)
    if "cause" not in calls or not inflated:
        return {}
    cause = calls.set_index(calls["gene"].astype(str))["cause"].astype(str)[inflated]
    return {of: int((cause == of).sum()) for of in (Cause.BURSTING, Cause.DROPOUT, Cause.CANNOT_TELL)}


def inflated_genes(calls: pd.DataFrame) -> list[str]:
    """Name the genes that are zero-inflated and whose zeros nothing explains."""
    called = calls["call"].astype(str) == Call.ZERO_INFLATED
    return calls.loc[called & (calls["explained_by"].astype(str) == ""), "gene"].astype(str).tolist()


def _on(genes: Sequence[str], levels: Sequence[str]) -> str:
    """Say which genes are on in one level only."""
    of_level = {level: [g for g, of in zip(genes, levels, strict=True) if of == level] for level in levels}
    return "; ".join(
        f"{_listed(some)} {'is' if len(some) == 1 else 'are'} on in {level!r} only"
        for level, some in of_level.items()
    )


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _NAMED:
        return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1:,} more"


def _groups(found: Mapping[str, Any]) -> Iterator[str]:
    """Say which groups are zero-inflated when they are compared by themselves."""
    groups = found.get("groups")
    if groups is None:
        return
    judged = groups[groups["verdict"] != ""]
    inflated = judged.loc[judged["verdict"] == Answer.ZINB, "group"].tolist()
    if not len(judged):
        yield "No group could be compared by itself."
    elif inflated:
        are, names = "is" if len(inflated) == 1 else "are", ", ".join(inflated)
        yield f"Compared group by group, {len(inflated)} of {len(judged)} {are} zero-inflated ({names})."
    elif found["explained_by"] == Explanation.GROUPS:
        yield (
            f"Compared group by group, none of {len(judged)} is zero-inflated, and together they are within "
            "or below the region: differences between the groups explain it."
        )
    else:
        n_open = int((judged["verdict"] == Answer.UNDECIDED).sum())
        undecided = f"; {n_open} undecided" if n_open else ""
        yield f"Compared group by group, none of {len(judged)} is shown to be zero-inflated{undecided}."


def _cautions(found: Mapping[str, Any]) -> list[str]:
    return [str(caution) for caution in np.atleast_1d(found.get("cautions", []))]


def cautions(found: Mapping[str, Any], training: str, kind: CountKind) -> Iterator[str]:
    """What the numbers of a comparison leave open, whatever it found.

    Parameters
    ----------
    training
        What to know of the trainings, in a sentence; empty if they had come to their end.
    kind
        What the numbers are that were fitted.
    """
    copied = kind == CountKind.READS and (found["rivals"]["model"] == "nb-amplified").any()
    if kind != CountKind.MOLECULES and not copied:
        yield f"Caution: {_lowered(advice(kind))}."
    if training:
        yield f"Caution: {training}"
    row = found["differences"].set_index("model").loc["zinb"]
    if int(row["n_restarts"]) == int(row["n_folds"]) == 1:
        yield "Caution: with one restart the interval does not have in it what another seed would change."
    if int(row["n_cells"]) < _FEW_CELLS:
        cells = "test cells" if int(row["n_folds"]) == 1 else "cells"
        yield f"Caution: fewer than {_FEW_CELLS} {cells} say little of other cells."
    if found["verdict"] == Answer.NB and found["excess_zeros"]:
        yield (
            "Caution: the ZINB predicts no better although there are more zeros than the NB expects; "
            "train longer before you believe either."
        )


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
