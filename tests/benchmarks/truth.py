"""Write the page on data whose truth is known: what each tool calls, and which verdict is given.

    python tests/benchmarks/truth.py --out truth.jsonl --write docs/truth.md

One line of JSON for each data set, tool and seed; what is in the file already is not run again. AUTOZI runs
where ``--scvi-python`` names an interpreter with scvi-tools. Real counts are read from ``ZINBTOOLS_DATA``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import genes
import jsonl
import numpy as np
from data import SHARED
from tables import chosen, table

from zinbtools._anndata.genes_and_cells import select

OURS = "zi_scores"
TOOLS = (OURS, "zero_test", "HIPPO z", "NBDrop z", "AUTOZI", "verdict")
DRAWN = (OURS,)  # tools that are asked once for each seed; the others are asked once


class Known(NamedTuple):
    """Counts of which it is known what was lost."""

    name: str
    make: Callable[[], ad.AnnData]
    counts: str = "auto"  # what `zt.tl.zi_scores` is told that they are


def real(name: str, layer: str | None = None) -> Callable[[], ad.AnnData]:
    """Counts of a file, genes with a count; ``var["is_zero_inflated"]`` is False."""

    def make() -> ad.AnnData:
        adata = ad.read_h5ad(SHARED / "data" / f"{name}.h5ad")
        if layer:
            adata.X = adata.layers[layer]
        adata = ad.AnnData(adata.X.astype(np.float32), adata.obs[[]], adata.var[[]])
        adata.var["is_zero_inflated"] = False
        return adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()

    return make


def lost(of: Callable[[], ad.AnnData]) -> Callable[[], ad.AnnData]:
    """Two genes in five lose counts, each with a probability between 0.02 and 0.3."""
    return lambda: genes.with_truth(of(), 0.4, seed=0)


def made(base: str) -> Callable[[], ad.AnnData]:
    def make() -> ad.AnnData:
        return genes.with_truth(genes.base(base, 2000, 500, 1, seed=0), 0.0, seed=0)

    return make


MOST_GENES, LEAST_MEAN = 300, 0.1  # of which a verdict is asked, so that it takes minutes
MIXTURES = "RNA mixtures without cells"
SETS = (
    Known("spike-ins, GemCode", real("ercc_zheng2017_gemcode")),
    Known("spike-ins, Drop-seq", real("ercc_macosko2015_dropseq")),
    Known("spike-ins, Drop-seq, taken for reads", real("ercc_macosko2015_dropseq"), "reads"),
    *(
        Known(f"{protocol}, {what}", real(f"ziegenhain2017_{stem}_reads_and_umis", layer), counts)
        for protocol, stem in (("CEL-seq2", "celseq2"), ("SCRB-seq", "scrbseq"))
        for what, layer, counts in (
            ("molecules", "umi", "auto"),
            ("reads", "reads", "auto"),
            ("reads taken for molecules", "reads", "molecules"),
        )
    ),
    Known(MIXTURES, real("rnamix_celseq2_mixology")),
    Known("twin of pbmc4k", made("twin of pbmc4k")),
    Known("simulated", made("gamma_poisson")),
    Known(f"{MIXTURES}, knocked out", lost(real("rnamix_celseq2_mixology"))),
    Known("twin of pbmc4k, knocked out", lost(made("twin of pbmc4k"))),
    Known("simulated, with dropout", lost(made("gamma_poisson"))),
)


def some_genes(adata: ad.AnnData) -> ad.AnnData:
    """Draw genes that are not too rare: those of largest variance would have no zeros."""
    there = np.flatnonzero(np.asarray(adata.X.mean(axis=0)).ravel() > LEAST_MEAN)
    drawn = np.random.default_rng(0).permutation(there)[:MOST_GENES]
    return select(adata[:, np.sort(drawn)])


def asked(adata: ad.AnnData, tool: str, seed: int, counts: str, scvi_python: str) -> dict[str, Any]:
    """What a tool says: calls of genes, or the verdict on the whole."""
    import zinbtools as zt

    if tool == "verdict":
        adata = some_genes(adata)
        zt.tl.model_selection(adata, counts=counts, rng=seed, layers=(), progress=False)
        verdict = zt.get.verdict(adata)
        return {"verdict": verdict.verdict, "sentence": verdict.sentence}
    if tool == OURS:
        zt.tl.fit_nb_zinb(adata, models="nb", rng=seed, layers=(), progress=False)
        zt.tl.zi_scores(adata, counts=counts, progress=False)
        called = (adata.var["zi_call"] == "zero-inflated").to_numpy()
    elif tool == "AUTOZI":
        called = genes.autozi(adata, scvi_python)[1]
    else:
        called = genes.VERDICTS[tool](adata)[1]
    truth = adata.var["is_zero_inflated"].to_numpy()
    return {
        "null": int((~truth).sum()),
        "null_called": int((called & ~truth).sum()),
        "lost": int(truth.sum()),
        "found": int((called & truth).sum()),
    }


def records(options: argparse.Namespace, done: set[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for known in SETS:
        todo = [
            (tool, seed)
            for tool in options.tools
            for seed in range(options.seeds if tool in DRAWN else 1)
            if (known.name, tool, seed) not in done and not (tool == "AUTOZI" and not options.scvi_python)
        ]
        if not todo or (options.only and options.only not in known.name):
            continue
        adata = known.make()
        for tool, seed in todo:
            start = genes.cpu_seconds()
            found = asked(adata.copy(), tool, seed, known.counts, options.scvi_python)
            yield {
                "name": known.name, "tool": tool, "seed": seed, "n_obs": adata.n_obs, "n_vars": adata.n_vars,
                **found, "seconds": round(genes.cpu_seconds() - start, 1),
            }  # fmt: skip


PAGE = """# What is known to be true

Counts of which it is known what was lost, and what is said of them: by `zt.tl.zi_scores` and
`zt.tl.model_selection` by their defaults, and by other tools. This page is written by

```bash
python tests/benchmarks/truth.py --scvi-python PYTHON_WITH_SCVI_TOOLS --out truth.jsonl --write docs/truth.md
```

The data: `zt.datasets.zheng_ercc` with all of its spike-ins, `zt.datasets.ziegenhain2017`,
`zt.datasets.rnamix`, and 84 droplets with spike-ins of Macosko et al. 2015; the twin is made by
`zt.simulate.like`, and losses by `zt.simulate.knockout`.

## Nothing was lost: genes called

Of all genes with a count, how many are called zero-inflated. Every call here is an error, or tells
something that is no loss. `zi_scores` is asked once for each of {n_seeds} seeds of the fit. `zero_test` is
ours too, without a network; HIPPO's z compares zeros with a Poisson distribution, NBDrop's with an NB of a
dispersion that is smooth over genes; AUTOZI is that of scvi-tools, 200 epochs, and was not asked where there
is nothing.

{nothing}
- **Spike-ins**: every droplet got the same solution of ERCC transcripts. Those of Drop-seq look like copies
  and not like molecules, [whatever they were meant to be](tutorials/spike_ins.md): as molecules, which they
  are said to be, `zi_scores` calls some. *Taken for reads* is `counts="reads"`.
- **The same cells twice** (CEL-seq2 and SCRB-seq, Ziegenhain et al. 2017): the molecules of cells, and the
  reads of the same molecules. Their zeros are the same, one by one: what is called of the reads and not of
  the molecules is copies. *Reads taken for molecules* is `counts="molecules"`. Of 35 and 42 cells little
  can be called at all: these rows show errors, and no power.
- **RNA mixtures without cells** (Tian et al. 2019, CEL-seq2): RNA of three cell lines, mixed in known
  proportions and diluted. There are no cells, and so no bursts.
- **Twin of pbmc4k**: counts drawn from a model without zero inflation of 2,000 real cells and 500 genes.
- **Simulated**: gamma-Poisson counts of 2,000 cells of several types and 500 genes.

## Counts were taken out: genes found, and others called

From the same counts. Two genes in five lose counts, each with a probability of its own between 0.02 and
0.3; the others lose none. A gene of low mean cannot show such a loss, to whatever tool.

{taken}
## The verdict on the whole

By `zt.tl.model_selection`, one seed each, of 300 genes with a mean above 0.1, drawn at random where there are
more. Where nothing was lost, every `zinb` is an error, or tells of copies that it was told are molecules;
where counts were taken out, `zinb` is the truth. Of the RNA mixtures it is missed (in the run of 2026-11-30):
the ZINB is better and genes are called, but over all genes there are no more zeros than the NB expects.

{verdicts}
## In words: smFISH

Molecules that are counted in place, under a microscope, are neither captured nor copied. Grün, Kester and
van Oudenaarden ([2014][gruen]) looked at mouse embryonic stem cells that way and by CEL-seq: their models
of technical noise, sampling and an efficiency that differs from cell to cell, were validated by smFISH.
Wang et al. ([2018][wang]) verified a Poisson model of technical noise on nine public data sets of
molecules. Neither model has a dropout beside. These are their results: no counts by smFISH were analysed
for this page.

[gruen]: https://doi.org/10.1038/nmeth.2930
[wang]: https://doi.org/10.1073/pnas.1721085115

## Elsewhere

Bursting genes, batches, fewer and more cells: [calls of genes](gene_calls.md). How often a cause of zeros
is named right: [zeros](zero_causes.md). How often the verdict errs on nulls and finds dropout: [its
rivals](rivals.md), [error rates](verdict_calibration.md).
"""


def page(found: list[dict[str, Any]]) -> str:
    tools = [tool for tool in TOOLS[:-1] if chosen(found, tool=tool)]
    nothing, taken, verdicts = [], [], []
    for known in SETS:
        runs = chosen(found, name=known.name)
        verdicts += [[known.name, r["verdict"], r["sentence"]] for r in runs if r["tool"] == "verdict"]
        by_tool = {tool: chosen(runs, tool=tool) for tool in tools}
        calls = by_tool[OURS]
        if calls and not calls[0]["lost"]:
            wrong = (", ".join(f"{r['null_called']:,}" for r in by_tool[tool]) for tool in tools)
            nothing.append([known.name, f"{calls[0]['n_obs']:,}", f"{calls[0]['n_vars']:,}", *wrong])
        elif calls:
            taken += [[known.name, tool, *told(by_tool[tool])] for tool in tools if by_tool[tool]]
    return PAGE.format(
        n_seeds=1 + max(run["seed"] for run in found),
        nothing=table(["counts", "cells", "genes", *tools], nothing),
        taken=table(["counts", "tool", "found of the lost", "others called", "false among calls"], taken),
        verdicts=table(["counts", "verdict", "in words"], verdicts),
    )


def told(runs: list[dict[str, Any]]) -> list[str]:
    """Genes found, others called, and the share of these among all calls, by seed."""
    found, wrong = (", ".join(f"{run[column]:,}" for run in runs) for column in ("found", "null_called"))
    shares = (run["null_called"] / max(run["null_called"] + run["found"], 1) for run in runs)
    false = ", ".join(f"{share:.1%}" for share in shares)
    return [f"{found} of {runs[0]['lost']:,}", f"{wrong} of {runs[0]['null']:,}", false]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="sets whose names have this")
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=TOOLS)
    parser.add_argument("--scvi-python", default="", help="an interpreter that has scvi-tools, for AUTOZI")
    parser.add_argument("--out", type=Path, default=Path("truth.jsonl"))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    done = {(record["name"], record["tool"], record["seed"]) for record in jsonl.read(options.out)}
    for record in records(options, done):
        jsonl.add(options.out, record)
        print(record, flush=True)
    text = page(jsonl.read(options.out))
    if options.write:
        options.write.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
