"""Draw the picture of the README and the home page: python docs/figures.py (some minutes)."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib as mpl

import zinbtools as zt

HERE = Path(__file__).parent
LAMBDAS = (0, 0.001, 0.01, 0.1, 1, 10)


def main() -> None:
    """Fit the study's six synthetic sets, with its parameters where they are at hand, and draw the zeros."""
    mpl.use("Agg")
    theirs = Path(os.environ.get("ZINBTOOLS_DATA", ""), "reference", "pln_params.npz")
    sets = {}
    for lam in LAMBDAS:
        adata = zt.simulate.zisynth(lam, params=theirs if theirs.exists() else None)
        zt.tl.fit_nb_zinb(adata, models="zinb", progress=False)
        sets[f"lambda = {lam:g}"] = adata
    figure = zt.pl.zero_study(sets, show=False, return_fig=True)
    figure.savefig(HERE / "_static" / "lambda.png", dpi=160)


if __name__ == "__main__":
    main()
