"""Put the study's tables, as made again, into a page.

    zinbtools reproduce --all --protocol default --restarts 20 --file cortex=cortex.h5ad --out tables
    python tests/benchmarks/study_tables.py --trained tables --write docs/study_tables.md

The tables of the folders of ``--trained`` come between ``<!-- tables: trained -->`` and ``<!-- end -->``, and
so those of ``--tuned`` and ``--untuned``; what is not given stays as it is.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pandas as pd

PLACES = {
    "trained": "trained to the end",
    "tuned": "as the study trained, after a search",
    "untuned": "as the study trained, with the defaults",
}
METRICS = {
    "nll": ("NLL", ".1f"),
    "ks_dropout_ratio": ("KS zeros", ".2f"),
    "ks_zeros_to_expression": ("KS zeros/expression", ".2f"),
    "ks_cv": ("KS variation", ".2f"),
}


def pair(row: pd.Series, suffix: str) -> str:
    """Both medians, in bold that of the better model."""
    words = [format(row[f"{model}{suffix}"], METRICS[row["metric"]][1]) for model in ("nb", "zinb")]
    better = {"nb": 0, "zinb": 1}.get(row[f"better{suffix}"])
    return " / ".join(f"**{word}**" if place == better else word for place, word in enumerate(words))


def name(dataset: str) -> str:
    return dataset.replace("ZISynth lambda=", "λ = ")


def tables(folders: list[Path]) -> str:
    """The figures of each data set beside the printed ones, and a row for each of what they amount to."""
    metrics, data = (
        pd.concat([pd.read_csv(folder / f"{part}.csv") for folder in folders]) for part in ("table", "data")
    )
    lines = ["| data | metric | printed, NB / ZINB | ours, NB / ZINB | |", "| --- | --- | --- | --- | --- |"]
    for _, row in metrics.iterrows():
        words = (name(row["dataset"]), METRICS[row["metric"]][0], pair(row, "_printed"), pair(row, ""))
        lines.append(f"| {' | '.join(words)} | {row['agreement']} |")
    lines += [
        "",
        "| data | mean dropout, printed | ours | ZINB minus NB, nats per cell | region | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for _, row in data.iterrows():
        interval = f"{row['difference']:+.2f} ({row['low']:.2f} to {row['high']:.2f})"
        dropout = f"{row['mean_dropout_printed']:.3f} | {row['mean_dropout']:.3f}"
        told = f"{interval} | ±{row['rope']:.2f} | {row['verdict']}"
        lines.append(f"| {name(row['dataset'])} | {dropout} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for place, words in PLACES.items():
        parser.add_argument(f"--{place}", nargs="+", type=Path, default=[], metavar="DIR", help=words)
    parser.add_argument("--write", type=Path, required=True, help="the page")
    arguments = parser.parse_args()
    text = arguments.write.read_text(encoding="utf-8")
    for place in PLACES:
        if folders := getattr(arguments, place):
            mark = f"<!-- tables: {place} -->"
            new, found = re.subn(
                rf"(?s){mark}.*?<!-- end -->", f"{mark}\n\n{tables(folders)}\n\n<!-- end -->", text
            )
            if not found:
                raise ValueError(f"{arguments.write} has no place for the tables {place}: {mark}")
            text = new
    arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
