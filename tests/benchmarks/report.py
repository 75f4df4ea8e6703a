"""The report on what `against_scvi` measured: medians, ranges, ratios and what they mean."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from statistics import linear_regression, mean, median, stdev

from scipy.stats import ranksums
from tables import (
    Record,
    Records,
    by_turn,
    chosen,
    groups,
    number,
    ratio,
    section,
    sides,
    spread,
    table,
    values,
)

INTRO = """# Benchmarks

zinbtools beside scvi-tools, on the same matrices, the same split into training, validation and test cells,
the same architecture (one layer of 128 units, 10 latent dimensions, latent library size, dropout 0.1, one
dispersion per gene, minibatches of 128) and the same number of threads. Each measurement runs in a process
of its own that may use no more cores than it has threads; the sides take turns, so that a slow hour is slow
for both. A cell of a table is the median over the turns, with the smallest and the largest in brackets. A
ratio is scvi-tools over zinbtools, the median over the turns of the ratio within a turn: above 1, zinbtools
is cheaper.

scvi-tools runs with its defaults but for three things: the latent library size; a KL weight of 1 from the
start (by default it rises over 400 epochs); validation in every epoch, as its early stopping needs.
Progress bars are off on both sides.

This page was written by

```bash
python tests/benchmarks/environments.py FOLDER --python python3.12 --only scvi
python tests/benchmarks/against_scvi.py --scvi-python FOLDER/scvi/bin/python
```

in an environment with zinbtools; `--only` and `--data` repeat parts of it.
"""

EPOCH = """## Seconds per epoch

The time of a fit of many epochs less that of a fit of one, per epoch, so that set-up, compilation and what
is computed after training cancel out. Validation on a tenth of the cells is part of an epoch on both sides;
early stopping is off.
"""

COMPILED = """Compiled is scvi-tools with `plan_kwargs={"compile": True}`, which has torch compile its module
in every fit; the first fit, one epoch of at most 1,000 cells, says how long that takes.
"""

CONVERGE = """## Time to the same held-out ELBO

scvi-tools trains for at most 400 epochs and stops after 45 without a gain, its default. It then has the
weights of its *last* epoch, and the validation ELBO of this epoch is the first target; its *best* epoch is
the second, and scvi-tools' time to it is its share of the epochs. zinbtools trains with its defaults, from
the same seed number. Counted are its epochs until the validation ELBO, nats per cell, is at least the
target; the time is that of a whole call with so many epochs, with set-up and all that is computed after
training. On both sides it is not the first call in its process: imports that happen late and compilation are
left out, as are the imports before and the reading of the data.
"""

FIRST = """A first call, one epoch of at most 1,000 cells, took {ours} s (zinbtools) and {theirs} s
(scvi-tools).
"""

QUALITY = """What both end with; the negative log likelihood (NLL) of the test cells, nats per cell, by 100
importance samples of each side's own, lower is better:
"""

RESTARTS = """## Many restarts

Both models fitted {n} times to the {data} counts, by one call of zinbtools; scvi-tools' time is that of
single fits (at most 400 epochs, early stopping), times {n}. Evaluation is the log likelihood of the test
cells by 100 importance samples, of all fits. With two threads, zinbtools trains in two processes of one.
"""

SINGLES = """Restarts that are trained together should be as good as fits on their own: test NLL of the
restarts and of zinbtools' single fits with other seeds, the p value of a rank-sum test between these two,
and the test NLL of scvi-tools' fits.
"""

SPREAD = """How much the seed matters: restarts of zinbtools on the same split. The last column is by how much
the validation ELBO rose over the last tenth of the epochs.
"""

MEMORY = """## Peak memory

The most memory that the process of a fit had in use (`ru_maxrss`), with `layers=()` and two epochs, MB.
Beside it the CSR arrays of the counts, and what was in use before the fit, packages and counts. The ratio is
of the peaks.
"""

IMPORT = """## Import

Seconds from the start of the interpreter to its end. `import zinbtools` leaves torch for later; the second
line imports what a fit needs.
"""

GROWTH = """## Growth

Seconds per epoch, NB, one thread, on the simulated counts cut or repeated to size. The slope is that of a
straight line through the logarithms: 1 where twice the size costs twice the time.
"""


def page(records: Records) -> str:
    """The whole report; what was not measured is left out."""
    sections = [epochs(records), converge(records), restarts(records), memory(records), imports(records)]
    return "\n".join([INTRO, environment(records), *filter(None, [*sections, growth(records)])])


def environment(records: Records) -> str:
    """Machine and versions."""
    found = {side: chosen(records, measurement="versions", side=side)[-1] for side in ("ours", "theirs")}
    known = ("measurement", "side", "threads", "date", "commit", "beside")
    names = dict.fromkeys(name for side in found.values() for name in side if name not in known)
    rows = [(name, *(found[side].get(name, "") for side in found)) for name in names]
    return f"Machine: {machine()}.\n\n" + table(["", "zinbtools' side", "scvi-tools' side"], rows)


def machine() -> str:
    """Processor, cores, memory and system."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{_cpu()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def epochs(records: Records) -> str:
    """Seconds per epoch, by data set, model and threads."""
    measured = [r for r in chosen(records, measurement="epoch") if "/" not in r["data"]]
    if not measured:
        return ""
    rows = []
    for name, model, threads in groups(measured, "data", "model", "threads"):
        pair = sides(measured, "seconds_per_epoch", data=name, model=model, threads=threads)
        rows.append([name, model.upper(), threads, *map(spread, pair), ratio(*pair)])
        compiled = by_turn(measured, side="compiled", data=name, model=model, threads=threads)
        third = values(compiled, "seconds_per_epoch")
        rows[-1] += [spread(third), ratio(pair[0], third), spread(values(compiled, "first"))]
    head = ["data", "model", "threads", "zinbtools", "scvi-tools", "ratio"]
    if not chosen(measured, side="compiled"):
        return section(EPOCH, table(head, (row[: len(head)] for row in rows)), measured)
    head += ["scvi-tools, compiled", "ratio", "s of its first fit"]
    return section(f"{EPOCH}\n{COMPILED}", table(head, rows), measured)


def converge(records: Records) -> str:
    """Time to scvi-tools' validation ELBOs, and the quality at the end."""
    fits = chosen(records, measurement="converge")
    if not fits:
        return ""
    rows, ends = [], []
    for name, model in groups(fits, "data", "model"):
        theirs = by_turn(fits, side="theirs", data=name, model=model)
        ours = by_turn(fits, side="ours", data=name, model=model)
        for target in ("last", "best"):
            reached = by_turn(records, measurement="reach", data=name, model=model, target=target)
            their_epochs = {turn: _target_epoch(fit, target) for turn, fit in theirs.items()}
            their_seconds = {
                turn: fit["seconds"] * their_epochs[turn] / len(fit["validation_elbo"])
                for turn, fit in theirs.items()
            }
            elbo = {turn: fit["validation_elbo"][their_epochs[turn] - 1] for turn, fit in theirs.items()}
            ours_epochs = {turn: fit["epochs"] for turn, fit in reached.items()}
            ours_seconds = {turn: fit["seconds"] for turn, fit in reached.items()}
            counted = [ours_epochs, their_epochs, ours_seconds, their_seconds]
            aim = f"{target}, {spread(elbo)}"
            rows.append([name, model.upper(), aim, *map(spread, counted), ratio(ours_seconds, their_seconds)])
        for label, side in {"zinbtools": ours, "scvi-tools": theirs}.items():
            nll = spread(values(side, "nll"))
            n_epochs = {turn: len(fit["validation_elbo"]) for turn, fit in side.items()}
            ends.append([name, model.upper(), label, nll, spread(n_epochs), spread(values(side, "seconds"))])
    head = [
        "data",
        "model",
        "target, its ELBO",
        "epochs, zinbtools",
        "scvi-tools",
        "s, zinbtools",
        "scvi-tools",
    ]
    tables = (
        table([*head, "ratio"], rows),
        QUALITY,
        table(["data", "model", "", "test NLL", "epochs", "s"], ends),
    )
    return section(CONVERGE, "\n".join(tables), fits)


def restarts(records: Records) -> str:
    """Cost and quality of many fits."""
    studies = chosen(records, measurement="study")
    parts = [_study(studies), _singles(records, studies)] if studies else []
    spreads = chosen(records, measurement="spread")
    if spreads:
        rows = []
        for record in spreads:
            for model, nll in record["nll"].items():
                share = f"{100 * stdev(nll) / mean(nll):.3f} %"
                gain = f"{record['late_gain'][model]:+.2f}"
                rows.append(
                    [record["data"], model.upper(), number(mean(nll)), number(stdev(nll)), share, gain]
                )
        head = ["data", "model", "mean test NLL", "standard deviation", "in % of the mean", "late gain"]
        parts += [SPREAD, table(head, rows)]
    return section(parts[0], "\n".join(parts[1:]), [*studies, *spreads]) if parts else ""


def _study(studies: Records) -> str:
    """The time of the hundred."""
    n, data = studies[0]["n_fits"], studies[0]["data"]
    rows = []
    for (threads,) in groups(studies, "threads"):
        seconds = []
        for side, of in {"ours": 1.0, "theirs": n}.items():
            runs = by_turn(studies, side=side, threads=threads)
            scale = {turn: of / (run["n_fits"] if side == "theirs" else 1) for turn, run in runs.items()}
            fit = {turn: run["seconds"] * scale[turn] for turn, run in runs.items()}
            both = {turn: fit[turn] + run["evaluation_seconds"] * scale[turn] for turn, run in runs.items()}
            seconds.append((fit, both))
        (our_fit, our_both), (their_fit, their_both) = seconds
        for what, pair in {"fits": (our_fit, their_fit), "with evaluation": (our_both, their_both)}.items():
            rows.append([what, threads, *map(spread, pair), ratio(*pair)])
    head = ["seconds of", "threads", "zinbtools", "scvi-tools", "ratio"]
    return RESTARTS.format(n=n, data=data) + "\n" + table(head, rows)


def _singles(records: Records, studies: Records) -> str:
    """The quality of the hundred."""
    together = chosen(studies, side="ours")[0]["nll"]
    single = chosen(records, measurement="singles")
    theirs = chosen(studies, side="theirs")
    rows = []
    for model, nll in together.items():
        alone = single[-1]["nll"][model] if single else []
        p = number(float(ranksums(nll, alone).pvalue)) if alone else ""
        their_nll = [value for record in theirs for value in record["nll"][model]]
        cells = (f"{spread(dict(enumerate(found)))}, {len(found)} fits" for found in (nll, alone, their_nll))
        rows.append([model.upper(), *cells, p])
    return (
        SINGLES + "\n" + table(["model", "together", "single", "scvi-tools", "p, together and single"], rows)
    )


def memory(records: Records) -> str:
    """Peak memory of a fit."""
    measured = chosen(records, measurement="memory")
    if not measured:
        return ""
    rows = []
    for (model,) in groups(measured, "model"):
        ours, theirs = sides(measured, "peak", model=model)
        before = sides(measured, "before", model=model)
        counts = number(measured[0]["counts"])
        rows.append([model.upper(), counts, *map(spread, (ours, theirs, *before)), ratio(ours, theirs)])
    head = ["model", "counts", "peak, zinbtools", "scvi-tools", "before, zinbtools", "scvi-tools", "ratio"]
    return section(MEMORY, table(head, rows), measured)


def imports(records: Records) -> str:
    """Time of the import statements."""
    measured = chosen(records, measurement="import")
    if not measured:
        return ""
    theirs = values(by_turn(measured, side="theirs"), "seconds")
    rows = []
    for side, statement in dict.fromkeys((r["side"], r["statement"]) for r in measured):
        seconds = values(by_turn(measured, side=side, statement=statement), "seconds")
        rows.append([f"`{statement}`", spread(seconds), ratio(seconds, theirs)])
    return section(IMPORT, table(["", "seconds", "ratio"], rows), measured)


def growth(records: Records) -> str:
    """Seconds per epoch by size, with the slopes."""
    measured = [r for r in chosen(records, measurement="epoch") if "/" in r["data"]]
    sizes = {r["data"]: tuple(map(int, r["data"].split("/")[1].split("x"))) for r in measured}
    tables = []
    for what, axis, fixed in (("cells, of 2,000 genes", 0, 2_000), ("genes, of 10,000 cells", 1, 10_000)):
        rows, points = [], []
        for name, size in sizes.items():
            if size[1 - axis] != fixed:
                continue
            pair = sides(measured, "seconds_per_epoch", data=name)
            points.append((size[axis], *(median(side.values()) for side in pair)))
            rows.append([f"{size[axis]:,}", *map(spread, pair), ratio(*pair)])
        if len(points) > 1:
            n, *seconds = (list(map(math.log, column)) for column in zip(*points, strict=True))
            slopes = (f"**{linear_regression(n, y).slope:.2f}**" for y in seconds)
            rows.append(["**slope**", *slopes, ""])
            tables.append(table([what, "zinbtools", "scvi-tools", "ratio"], rows))
    return section(GROWTH, "\n".join(tables), measured) if tables else ""


def first_epoch(elbo: Iterable[float], aim: float) -> int | None:
    """Number of epochs until the ELBO is at least ``aim``."""
    return next((epoch for epoch, value in enumerate(elbo, start=1) if value >= aim), None)


def _target_epoch(fit: Record, target: str) -> int:
    elbo = fit["validation_elbo"]
    return len(elbo) if target == "last" else elbo.index(max(elbo)) + 1


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    name = found.get("model name", platform.machine())
    # virtual machines keep the name to themselves
    return f"{name} (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else name
