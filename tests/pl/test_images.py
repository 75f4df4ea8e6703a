"""What the plots look like, against pictures that a person has looked at.

After a wanted change: ``ZINBTOOLS_BASELINE=write pytest tests/pl/test_images.py``, look at the pictures in
``baseline/``, and commit them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import matplotlib.image as mpl_image
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit
from matplotlib.figure import Figure
from numpy.typing import NDArray

from zinbtools import pl
from zinbtools.pl import _style

BASELINE = Path(__file__).parent / "baseline"
DPI = 80
# Root mean square over pixels, of 255, after both pictures are averaged over squares: fonts and anti-aliasing
# differ between versions of matplotlib by less.
SQUARE, TOLERANCE = 4, 4.0

PLOTS: dict[str, Callable[[AnnData], Figure]] = {
    "calibration": lambda adata: pl.calibration(adata, return_fig=True),
    "consequences": lambda adata: pl.consequences(adata, return_fig=True),
    "dropout": lambda adata: pl.dropout(adata, return_fig=True),
    "dropout_many": lambda _: pl.dropout(fake_fit(200, 600), return_fig=True),
    "gene": lambda adata: pl.gene(adata, "gene54", return_fig=True),
    "history": lambda adata: pl.history(adata, return_fig=True),
    "power": lambda adata: pl.power(adata, return_fig=True),
    "ppc": lambda adata: pl.ppc(adata, return_fig=True),
    "ppc_distribution": lambda adata: pl.ppc(adata, checks="cv", kind="distribution", return_fig=True),
    "tuning": lambda adata: pl.tuning(adata, return_fig=True),
    "zero_causes": lambda adata: pl.zero_causes(adata, return_fig=True),
    "verdict": lambda adata: pl.verdict(adata, return_fig=True),
    "zero_study": lambda adata: pl.zero_study(adata, return_fig=True),
    "zero_study_panels": lambda adata: pl.zero_study({"a": adata, "b": fake_fit(300)}, return_fig=True),
    "zero_test": lambda adata: pl.zero_test(adata, return_fig=True),
    "zi_scores": lambda adata: pl.zi_scores(adata, return_fig=True),
    "zi_scores_mean": lambda adata: pl.zi_scores(adata, kind="mean", return_fig=True),
    "zi_scores_volcano": lambda adata: pl.zi_scores(adata, kind="volcano", return_fig=True),
}


@pytest.fixture(scope="module")
def called() -> AnnData:
    """The fake fit with calls that a test would make."""
    adata = fake_fit()
    z = adata.var["zi_score"] / adata.var["zi_score_se"]
    adata.var["zi_pval"] = np.exp(-(np.clip(z, 0, None) ** 2) / 2)
    adata.var["zi_dropout"] = adata.var["zinb_mean_dropout"]
    adata.var["zi_call"] = pd.Categorical(
        np.select([z > 3, adata.X.mean(axis=0).A1 < 0.3], ["zero-inflated", "undecided"], "negligible")
    )
    return adata


def drawn(figure: Figure, folder: Path) -> NDArray[np.float64]:
    figure.savefig(folder / "drawn.png", dpi=DPI)
    return read(folder / "drawn.png")


def read(path: Path) -> NDArray[np.float64]:
    """Averages over squares of SQUARE x SQUARE pixels, 0 to 255."""
    image = 255 * mpl_image.imread(path)[..., :3].astype(float)
    rows, columns = (n // SQUARE for n in image.shape[:2])
    squares = image[: rows * SQUARE, : columns * SQUARE].reshape(rows, SQUARE, columns, SQUARE, 3)
    return squares.mean(axis=(1, 3))


def difference(image: NDArray[np.float64], baseline: NDArray[np.float64]) -> float:
    assert image.shape == baseline.shape
    return float(np.sqrt(np.mean((image - baseline) ** 2)))


def test_every_plot_has_a_picture() -> None:
    assert {path.stem for path in BASELINE.glob("*.png")} == set(PLOTS)
    assert set(pl.__all__) - {"model_selection", "meta"} <= set(PLOTS)


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_the_plot_looks_as_it_did(name: str, called: AnnData, tmp_path: Path) -> None:
    if os.environ.get("ZINBTOOLS_BASELINE") == "write":
        BASELINE.mkdir(exist_ok=True)
        PLOTS[name](called).savefig(BASELINE / f"{name}.png", dpi=DPI)
    assert difference(drawn(PLOTS[name](called), tmp_path), read(BASELINE / f"{name}.png")) < TOLERANCE


@pytest.mark.parametrize("name", ["history", "ppc", "dropout", "zi_scores"])
def test_other_colors_would_be_seen(
    name: str, called: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colors = {"nb": _style.COLORS["zinb"], "zinb": _style.COLORS["nb"]}
    monkeypatch.setattr(f"zinbtools.pl._{name}.COLORS", _style.COLORS | colors)
    calls = {"negligible": colors["nb"], "zero-inflated": colors["zinb"]}
    monkeypatch.setattr("zinbtools.pl._zi_scores.CALLED", calls)
    assert difference(drawn(PLOTS[name](called), tmp_path), read(BASELINE / f"{name}.png")) > TOLERANCE


def test_a_missing_curve_would_be_seen(called: AnnData, tmp_path: Path) -> None:
    figure = PLOTS["ppc_distribution"](called)
    figure.axes[0].lines[0].remove()
    assert difference(drawn(figure, tmp_path), read(BASELINE / "ppc_distribution.png")) > TOLERANCE
    plt.close(figure)
