"""Make the pictures of the README and the home page.

``python docs/figures.py`` draws the zeros of the study's synthetic sets (some minutes).
``python docs/figures.py report`` runs the study of the 700 PBMCs that scanpy ships and takes a picture of the
top of its report (some minutes, and a Chromium or Chrome that playwright can drive).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import numpy as np
import scanpy as sc
from anndata import AnnData
from scipy import sparse

import zinbtools as zt
from zinbtools.study import run_study, write_study

HERE = Path(__file__).parent
LAMBDAS = (0, 0.001, 0.01, 0.1, 1, 10)
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = {"width": 1000, "height": 720}


def draw_zeros() -> None:
    """Fit the study's six synthetic sets, with its parameters where they are at hand, and draw the zeros."""
    theirs = Path(os.environ.get("ZINBTOOLS_DATA", ""), "reference", "pln_params.npz")
    sets = {}
    for lam in LAMBDAS:
        adata = zt.simulate.zisynth(lam, params=theirs if theirs.exists() else None)
        zt.tl.fit_nb_zinb(adata, models="zinb", progress=False)
        sets[f"lambda = {lam:g}"] = adata
    figure = zt.pl.zero_study(sets, show=False, return_fig=True)
    figure.savefig(HERE / "_static" / "lambda.png", dpi=160)


def picture_report() -> None:
    """Run the study of scanpy's PBMCs, print what it concludes, and take a picture of its report."""
    adata = pbmcs()
    study = run_study(adata, layer="counts")
    print(study)
    with TemporaryDirectory() as folder:
        command = "zinbtools study pbmc.h5ad --layer counts --out study"
        write_study(study, Path(folder), title="pbmc.h5ad", command=command)
        photograph(Path(folder, "report.html"))


def pbmcs() -> AnnData:
    """Give back the counts of the 700 PBMCs that scanpy ships as logarithms."""
    adata = sc.datasets.pbmc68k_reduced()
    per_cell = adata.obs["n_counts"].to_numpy()[:, None]
    counts = np.rint(np.expm1(adata.raw.X.toarray()) * per_cell / 1e4)
    adata.layers["counts"] = sparse.csr_matrix(counts.astype("float32"))
    del adata.raw
    return adata


def photograph(report: Path) -> None:
    """Take a picture of the top of a report."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(report.as_uri())
        page.screenshot(path=HERE / "_static" / "report.png")
        browser.close()


if __name__ == "__main__":
    mpl.use("Agg")
    picture_report() if sys.argv[1:] == ["report"] else draw_zeros()
