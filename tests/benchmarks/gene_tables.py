"""The tables of docs/gene_calls.md, from the records of genes.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from genes import BINS, METHODS
from tables import Record, table

PAGE = """# Gene calls on known truth

How often each method is right about zero inflation, gene by gene, on counts whose truth is known: three
families of simulated counts and a trajectory, twins of real data drawn from a model without inflation, and
real counts of which some were removed. Where genes are inflated, two in five of them lose counts, each with a
probability of its own between 0.02 and 0.3. Gene means of the simulated sets are uniform on a log scale
from 0.01 to 100. Calls are at a false discovery rate of 5 %.

```bash
python tests/benchmarks/genes.py --n-obs 2000 --n-vars 500 --seeds 41 42 43 --out genes.jsonl
python tests/benchmarks/genes.py --out genes.jsonl --write docs/gene_calls.md
```

What was run, with `--n-obs`, `--n-batches`, `--bases`, `--methods` and `--seeds` accordingly; tables that
name no size are of {size}:

{what}
`bound` is our test around the true means, of a dropout above 0.01; `bound, any dropout` tests for any
dropout at all. `conditional` is the default of `zt.tl.zi_scores`. HIPPO's z compares with a Poisson
distribution, NBDrop's with an NB whose dispersion is a smooth function of the mean. Both, like `zero_test`
without types, ask about all cells together and not about cells in the same state. Where there are cell
types that is another question. AUTOZI is that of scvi-tools 1.4.2, 200 epochs. A fifth of the genes of
`beta_poisson` burst: they are silent in some cells by design. That is no dropout, but the tests call many
of them, around the true means too; they are listed apart. In `knocked-out pbmc4k` nothing is known of the
genes that were left alone: a call among them may be right, although it is counted as false.

## Nominal and found

{nominal}
Each seed draws counts, split and networks anew, so that the choice of cells, the seed and the split
are tested together and cannot be told apart; two fits of the same counts are not compared. There is
no Monte Carlo error to test: `conditional` draws nothing. What was tested are counts of these
families; of real counts the truth is not known. No call rests on a bootstrap p value
(`n_bootstrap`), which cannot be below 1 / (1 + N) with N ratios of twins: with 19 it ends at .05,
and is no evidence beyond .05.

## Without inflation: genes called

{null}
Bursting genes called, of {bursting}.

## With inflation: false discoveries among the calls

{fdr}
## With inflation: power by mean count

Share of the inflated genes that are called; in brackets, for `conditional`, the share of all genes in the bin
that are undecided.

{power}
## Ranking: area under the ROC curve, genes of mean above 1

Ranked by p value, then by score; AUTOZI by its probability, mean dropout by itself.

{auroc}
## Fewer cells, more cells, and batches

Each batch has an effect of its own on each gene, and is known to the network.

{others}
## Seconds of one core, per data set of {size}, the fit of the networks included

{seconds}"""


def page(everything: Sequence[Record]) -> str:
    """The whole page: tables of the first size, and one of the others."""
    size = _size(everything[0])
    found = [r for r in everything if _size(r) == size]
    bases, methods = ordered(r["base"] for r in found), [m for m in (*METHODS, "AUTOZI") if _has(found, m)]
    null = [r for r in found if r["share"] == 0]
    inflated = [r for r in found if r["share"] > 0]
    silent = _sum(null, "conditional", "silent_called"), _sum(null, "conditional", "silent")
    bound = _sum(null, "bound", "silent_called")
    return PAGE.format(
        what=_what(everything),
        nominal=_nominal(null, inflated, bases),
        null=_per_base_and_bin(null, bases, methods),
        bursting=f"{silent[1]}: {silent[0]} by `conditional`, {bound} by `bound`",
        fdr=_per_base(inflated, bases, methods, _fdr),
        power=_power(inflated, bases),
        auroc=_per_base(inflated, bases, methods, _auroc),
        others=_per_size(everything, methods),
        size=_name(size),
        seconds=_seconds(found, methods),
    )


def _size(record: Record) -> tuple[int, int, int]:
    return record["n_obs"], record["n_vars"], record["n_batches"]


def _name(size: tuple[int, int, int]) -> str:
    n_obs, n_vars, n_batches = size
    return f"{n_obs:,} cells x {n_vars:,} genes" + (f", {n_batches} batches" if n_batches > 1 else "")


def ordered(values: Iterable[Any]) -> list[Any]:
    """Without repetitions, in the order of their first appearance."""
    return list(dict.fromkeys(values))


def _has(found: Sequence[Record], method: str) -> bool:
    return any(r["method"] == method for r in found)


def _what(found: Sequence[Record]) -> str:
    """Which methods were run on what."""
    methods: dict[tuple[Any, ...], list[str]] = {}
    for size, method in ordered((_size(r), r["method"]) for r in found):
        some = [r for r in found if (_size(r), r["method"]) == (size, method)]
        bases, seeds = (tuple(ordered(r[part] for r in some)) for part in ("base", "seed"))
        methods.setdefault((size, bases, seeds), []).append(method)
    return table(
        ["data sets", "bases", "seeds", "methods"],
        [
            [_name(size), ", ".join(bases), ", ".join(map(str, seeds)), ", ".join(several)]
            for (size, bases, seeds), several in methods.items()
        ],
    )


def _nominal(null: Sequence[Record], inflated: Sequence[Record], bases: Sequence[str]) -> str:
    """What `conditional` promises, and what was found of it; where the truth is known."""
    of_base = {
        base: [r for r in inflated if (r["base"], r["method"]) == (base, "conditional")]
        for base in bases
        if not base.startswith("knocked-out")
    }
    false = {}
    for base, some in of_base.items():
        wrong = _sum(some, "conditional", "null_called")
        false[base] = wrong / max(wrong + _sum(some, "conditional", "found"), 1)
    worst = max(false, key=lambda base: false[base])
    called, n = _sum(null, "conditional", "null_called"), _sum(null, "conditional", "null")
    fewest, most = (f"{100 * share:.1f} %" for share in (min(false.values()), false[worst]))
    return (
        f"At most 5 % of the calls of `conditional` should be false. Found: {fewest} to {most} of them, the "
        f"most for\n{worst}. Where nothing is inflated, at most 5 % of the data sets should have any call. "
        f"Found: {called} of\n{n:,} genes called = {100 * called / n:.2f} %, bursting genes apart.\n"
    )


def _sum(found: Sequence[Record], method: str, what: str, place: int | None = None) -> int:
    return sum(
        part[what]
        for r in found
        if r["method"] == method
        for b, part in enumerate(r["bins"])
        if place in (None, b)
    )


def _per_base_and_bin(found: Sequence[Record], bases: Sequence[str], methods: Sequence[str]) -> str:
    rows = []
    for base in bases:
        for method in methods:
            some = [r for r in found if r["base"] == base and r["method"] == method]
            if not some or not _sum(some, method, "null") or method == "mean dropout":
                continue
            cells = [
                f"{_sum(some, method, 'null_called', b)}/{_sum(some, method, 'null', b)}"
                for b in range(len(BINS))
            ]
            whole = _sum(some, method, "null_called") / _sum(some, method, "null")
            rows.append([base, method, *cells, f"{100 * whole:.1f} %"])
    return table(["base", "method", *BINS, "all"], rows)


def _per_base(found: Sequence[Record], bases: Sequence[str], methods: Sequence[str], value: Any) -> str:
    rows = []
    for method in methods:
        cells = [value([r for r in found if (r["base"], r["method"]) == (b, method)], method) for b in bases]
        if any(cell != "" for cell in cells):
            rows.append([method, *cells])
    return table(["method", *bases], rows)


def _fdr(some: Sequence[Record], method: str) -> str:
    wrong, right = _sum(some, method, "null_called"), _sum(some, method, "found")
    if not some or method == "mean dropout":
        return ""
    return f"{100 * wrong / max(wrong + right, 1):.1f} % of {wrong + right}"


def _auroc(some: Sequence[Record], method: str) -> str:
    areas = [r["auroc"] for r in some if r["auroc"] is not None]
    return f"{np.mean(areas):.4f}" if areas else ""


def _power(found: Sequence[Record], bases: Sequence[str]) -> str:
    rows = []
    for base in bases:
        for method in ("bound, any dropout", "bound", "conditional", "zero_test by type", "predictive"):
            some = [r for r in found if r["base"] == base and r["method"] == method]
            if not some:
                continue
            cells = []
            for b in range(len(BINS)):
                n = _sum(some, method, "inflated", b)
                cell = f"{_sum(some, method, 'found', b) / n:.2f}" if n else ""
                if method == "conditional" and n:
                    everyone = sum(_sum(some, method, what, b) for what in ("inflated", "null", "silent"))
                    cell += f" ({_sum(some, method, 'undecided', b) / everyone:.2f})"
                cells.append(cell)
            rows.append([base, method, *cells])
    return table(["base", "method", *BINS], rows)


def _per_size(found: Sequence[Record], methods: Sequence[str]) -> str:
    """Errors and power of the tests on each base, at each size."""
    rows = []
    for size in ordered(map(_size, found)):
        for base in ordered(r["base"] for r in found if _size(r) == size):
            for method in methods:
                some = [r for r in found if (_size(r), r["base"], r["method"]) == (size, base, method)]
                if method not in ("bound", "bound, any dropout", "conditional") or not some:
                    continue
                null, inflated = ([r for r in some if (r["share"] > 0) == truth] for truth in (False, True))
                n = _sum(null, method, "null")
                called = f"{_sum(null, method, 'null_called')}/{n}" if n else ""
                found_above_1 = sum(_sum(inflated, method, "found", b) for b in range(3, len(BINS)))
                n_above_1 = sum(_sum(inflated, method, "inflated", b) for b in range(3, len(BINS)))
                rows.append(
                    [
                        *(_name(size), base, method, called, _fdr(inflated, method)),
                        f"{found_above_1 / n_above_1:.2f}" if n_above_1 else "",
                        _auroc(inflated, method),
                    ]
                )
    header = ["data sets", "base", "method", "called without inflation", "false discoveries"]
    return table([*header, "power above mean 1", "area above mean 1"], rows)


def _seconds(found: Sequence[Record], methods: Sequence[str]) -> str:
    spent = {
        m: [r["seconds"] for r in found if r["method"] == m and r["seconds"] is not None] for m in methods
    }
    return table(["method", "median"], [[m, f"{np.median(s):.2f}"] for m, s in spent.items() if s])
