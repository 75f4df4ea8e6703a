"""From records to cells of a table: what belongs together, medians, ranges, ratios within a turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Record = dict[str, Any]
Records = Sequence[Record]
Turns = Mapping[int, float | None]  # a number by turn, None where it was out of reach


def chosen(records: Records, **where: Any) -> list[Record]:
    """The records that have these values."""
    return [r for r in records if all(r.get(key) == value for key, value in where.items())]


def by_turn(records: Records, **where: Any) -> dict[int, Record]:
    """The one record of each turn."""
    return {r["turn"]: r for r in chosen(records, **where)}


def values(runs: dict[int, Record], key: str) -> dict[int, float]:
    """One number of each turn's record."""
    return {turn: run[key] for turn, run in runs.items()}


def sides(records: Records, key: str, **where: Any) -> tuple[dict[int, float], dict[int, float]]:
    """One number of ours and of theirs, by turn."""
    ours, theirs = (values(by_turn(records, side=side, **where), key) for side in ("ours", "theirs"))
    return ours, theirs


def groups(records: Records, *keys: str) -> list[tuple[Any, ...]]:
    """The combinations of values that occur, in the order of the report."""
    return sorted(
        {tuple(r[key] for key in keys) for r in records}, key=lambda group: [_rank(v) for v in group]
    )


def _rank(value: Any) -> tuple[int, Any]:
    order = ["ours", "theirs", "zheng", "cortex", "pbmc4k", "pbmc3k", "simulated", "nb", "zinb"]
    return (0, order.index(value)) if value in order else (1, value)


def spread(by_turn: Turns) -> str:
    """Median, and smallest to largest if there are several."""
    found = [value for value in by_turn.values() if value is not None]
    if len(found) < len(by_turn) or not found:
        return f"not reached in {len(by_turn) - len(found)} of {len(by_turn)}" if by_turn else ""
    middle = number(median(found))
    return middle if len(found) == 1 else f"{middle} ({number(min(found))} to {number(max(found))})"


def ratio(ours: Turns, theirs: Turns) -> str:
    """Theirs over ours within a turn."""
    found: dict[int, float | None] = {}
    for turn in ours.keys() & theirs.keys():
        mine, other = ours[turn], theirs[turn]
        found[turn] = other / mine if mine and other else None
    return spread(found)


def number(value: float) -> str:
    """Three significant digits, and all before the point."""
    if value == int(value) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:#.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def section(text: str, body: str, records: Records) -> str:
    """What was measured, the figures, and when, at which commit and beside what."""
    beside = (f" beside {r['beside']}" if r.get("beside") else "" for r in records)
    when = {f"{r['date']} at {r['commit']}{what}" for r, what in zip(records, beside, strict=True)}
    return f"{text}\n{body}\nMeasured on {', '.join(sorted(when))}.\n"


def with_rest(page: str, old: Path, title: str) -> str:
    """A page anew, with what its file has from this title on."""
    _, found, rest = (old.read_text("utf-8") if old.exists() else "").partition(title)
    return f"{page.rstrip()}\n\n{found}{rest}".rstrip() + "\n"


def with_section(page: str, title: str, text: str) -> str:
    """A page whose section of this title, or else its end, is this text."""
    before, _, rest = page.partition(f"{title}\n")
    following = rest.partition("\n## ")[2]
    after = f"\n\n## {following.rstrip()}" if following else ""
    return f"{before.rstrip()}\n\n{text.rstrip()}{after}\n"
