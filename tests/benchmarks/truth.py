"""Write the page on data whose truth is known: what each tool calls, and which verdict is given.

    python tests/benchmarks/truth.py --out truth.jsonl --write docs/truth.md

One line of JSON for each data set, tool and seed; what is in the file already is not run again. AUTOZI runs where
``--scvi-python`` names an interpreter that has scvi-tools. The real counts are read from ``ZINBTOOLS_DATA``.
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


MIXTURES = "RNA mixtures without cells"
SETS = (
    Known("spike-ins, GemCode", real("ercc_zheng2017_gemcode")),
    Known("spike-ins, Drop-seq", real("ercc_macosko2015_dropseq")),
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


def asked(adata: ad.AnnData, tool: str, seed: int, counts: str, scvi_python: str) -> dict[str, Any]:
    """What a tool says: calls of genes, or the verdict on the whole."""
    import zinbtools as zt

    if tool == "verdict":
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

Counts of which it is known what was lost, and what is said of them: by `zt.tl.zi_scores` and `zt.tl.model_selection` by
their defaults, and by other tools. The page is written by

```bash
python tests/benchmarks/truth.py --seeds {n_seeds} --scvi-python PYTHON_WITH_SCVI_TOOLS --out truth.jsonl --write docs/truth.md
```

The data: `zt.datasets.zheng_ercc`, `zt.datasets.ziegenhain2017`, `zt.datasets.rnamix`; the spike-ins of Drop-seq are those of
Macosko et al. 2015, the twin is made by `zt.simulate.like`, and losses by `zt.simulate.knockout`.

## Nothing was lost: genes called

Of all genes with a count, how many are called zero-inflated. Here every call is an error, or tells something that is
no loss. `zi_scores` is asked once for each of {n_seeds} seeds of the fit. `zero_test` is ours too, without a network; HIPPO's z compares
zeros with a Poisson distribution, NBDrop's with an NB of a dispersion smoothed over genes; AUTOZI is that of scvi-tools,
200 epochs.

{nothing}
- **Spike-ins**: every droplet got the same solution of ERCC transcripts.
- **The same cells twice** (CEL-seq2 and SCRB-seq, Ziegenhain et al. 2017): the molecules of cells, and the reads of the same
  molecules. Their zeros are the same, one by one: what is called of the reads and not of the molecules is
  copies. *Reads taken for molecules* were told to be molecules (`counts="molecules"`). Of 35 and 42 cells little can
  be called at all: these rows show errors, and no power.
- **RNA mixtures without cells** (Tian et al. 2019, CEL-seq2): RNA of three cell lines, mixed in known proportions and diluted.
  There are no cells, and so no bursts.
- **Twin of pbmc4k**: counts drawn from a model without zero inflation of 2,000 real cells and 500 genes.
- **Simulated**: gamma-Poisson counts of 2,000 cells of several types and 500 genes.

## Counts were taken out: genes found, and others called

From the same counts. Two genes in five lose counts, each with a probability of its own between 0.02 and 0.3; the others
lose none. A gene of low mean cannot show such a loss, to whatever tool.

{taken}
## The verdict on the whole

By `zt.tl.model_selection`, one seed each.

{verdicts}
## In words: smFISH

Molecules that are counted in place, under a microscope, are neither captured nor copied, and so none is lost on the way
from the cell. Grün, Kester and van Oudenaarden counted mouse embryonic stem cells that way and by CEL-seq
([Nature Methods 2014, 11:637](https://doi.org/10.1038/nmeth.2930)): sampling, and a capture that differs from cell to cell, account for the
technical part of the variation, and what is left agrees with smFISH. Wang et al.
([PNAS 2018, 115:E6437](https://doi.org/10.1073/pnas.1721085115)) find in nine public data sets of molecules that Poisson noise around a
cell's own efficiency describes the measurement. Neither needs a further loss of molecules. These are their results; no counts
by smFISH were analysed for this page.

## Elsewhere

Bursting genes, batches, fewer and more cells: [calls of genes](gene_calls.md). How often a cause of zeros is named right:
[zeros](zero_causes.md). How often the verdict errs on nulls and finds dropout: [its rivals](rivals.md), [error
rates](verdict_calibration.md).
"""


def page(found: list[dict[str, Any]]) -> str:
    tools = [tool for tool in TOOLS[:-1] if chosen(found, tool=tool)]
    nothing, taken, verdicts = [], [], []
    for known in SETS:
        runs = chosen(found, name=known.name)
        calls = [run for run in runs if run["tool"] != "verdict"]
        if calls:
            head = [known.name, f"{calls[0]['n_obs']:,}", f"{calls[0]['n_vars']:,}"]
            by_tool = [sorted(chosen(calls, tool=tool), key=lambda run: run["seed"]) for tool in tools]
            if calls[0]["lost"]:
                for tool, some in zip(tools, by_tool, strict=True):
                    power, wrong = (
                        ", ".join(f"{run[c]:,}" for run in some) for c in ("found", "null_called")
                    )
                    shares = [run["null_called"] / max(run["null_called"] + run["found"], 1) for run in some]
                    fdr = ", ".join(f"{share:.1%}" for share in shares)
                    if some:
                        lost, null = f"{some[0]['lost']:,}", f"{some[0]['null']:,}"
                        taken.append([known.name, tool, f"{power} of {lost}", f"{wrong} of {null}", fdr])
            else:
                nothing.append([*head, *(", ".join(f"{r['null_called']:,}" for r in s) for s in by_tool)])
        verdicts += [[known.name, r["verdict"], r["sentence"]] for r in runs if r["tool"] == "verdict"]
    return PAGE.format(
        n_seeds=1 + max(run["seed"] for run in found),
        nothing=table(["counts", "cells", "genes", *tools], nothing),
        taken=table(
            ["counts", "tool", "found of the lost", "called of the others", "false among calls"], taken
        ),
        verdicts=table(["counts", "verdict", "in words"], verdicts),
    )


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
