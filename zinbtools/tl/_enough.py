"""A comparison on as many cells as it takes, where there are many."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from anndata import AnnData

from .._anndata.drawn import draw_cells
from .._anndata.fitted_counts import places_of
from .._anndata.kinds import Finding
from .._check.rng import seed_sequence
from .._words.count_kinds import CountKind
from ..get._settings import FitSettings
from ._comparison import Comparison, Method
from ._setup import read_sample

SIZES = 20_000, 40_000, 80_000  # cells after which it is asked whether they suffice


class Compared(NamedTuple):
    """A comparison, and the cells that it is of.

    Attributes
    ----------
    adata
        With these cells alone.
    cells
        Which of the cells they are, by index; None for all.
    settings
        What was asked of them.
    digests
        By which their counts are known again.
    """

    main: Comparison
    adata: AnnData
    cells: np.ndarray | None
    settings: FitSettings
    digests: np.ndarray


def compare_on_enough(
    adata: AnnData, settings: FitSettings, method: Method, cells: int | Literal["auto", "all"]
) -> Compared:
    """Compare on all cells, on so many, or on more and more until the interval has left the region's edges.

    Of those that can grow, only the last has more restarts than it takes to ask twice.
    """
    wanted = SIZES if cells == "auto" else (adata.n_obs if cells == "all" else cells,)
    *smaller, largest = sorted({min(size, adata.n_obs) for size in wanted})
    few = [size for size in (*smaller, largest) if size < adata.n_obs]
    if few:
        drawn = draw_cells(
            adata,
            few[-1],
            layer=settings.layer,
            genes=np.sort(places_of(adata, settings.genes)),
            batch_key=settings.batch_key,
            rng=np.random.default_rng(seed_sequence(method.seed).spawn(4)[-1]),
        )
    for size in (*smaller, largest):
        part, which = (adata, None) if size == adata.n_obs else drawn.first(size)
        own = settings if which is None else replace(settings, genes=drawn.genes_of(size))
        found = _compare(part, which, own, method, is_last=size == largest)
        if found.main.position != "open":
            break
    return found


def _compare(
    part: AnnData, cells: np.ndarray | None, settings: FitSettings, method: Method, *, is_last: bool
) -> Compared:
    run = method.run if cells is None else method.run.within(f"{len(cells)}-cells")
    sample, digests = read_sample(part, settings)
    if method.counts != "auto":
        told = Finding(CountKind(method.counts), f"counts={method.counts!r} was given")
        sample = replace(sample, finding=told)
    main = replace(method, run=run).compare(sample, settings, None if is_last else 2)
    return Compared(main, part, cells, settings, digests)
