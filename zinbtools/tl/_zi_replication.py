"""`zi_replication`: whether the calls of genes are the same in other cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.reading import check_anndata, checked_column
from .._anndata.results import storable, target_of
from .._check.arguments import checked
from .._check.rng import RNG, seed_sequence
from .._record.parts import ZI_GENES, ZI_PARTS, ZI_REPLICATION
from .._words.sentence import sentence
from ..get._fitted import Fitted
from ..get._settings import FitSettings
from ..jobs.progress import counting, one, tells, untold
from ..jobs.threads import single_threaded
from ._added import says_what_it_added
from ._conditional import CallRule, check_nb
from ._refits import FEWEST_CELLS, part_of, refitted, sample_of
from ._setup import Run, Sample

KEPT = list(ZI_GENES.holds[1:-1])  # all but gene and part


class Part(NamedTuple):
    """Cells, by index, that are compared with the other parts of the same split."""

    split: int
    name: str
    cells: np.ndarray


@checked
@says_what_it_added
@tells
@single_threaded()
def zi_replication(
    adata: AnnData,
    *,
    groupby: str | None = None,
    n_splits: int = 1,
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
    smallest_dropout: float = 0.1,
    device: str = "auto",
    rng: RNG = 0,
    progress: bool = True,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Repeat the calls of zero-inflated genes in batches, donors or random halves of the cells.

    In each part the NB is fitted anew and the test of ``zi_scores(method="conditional")`` is run, so that
    two parts share no cell and no estimate. Calls that come back are no accident of the cells or of the
    training. They need not be dropout: what the NB lacks, such as bursts of transcription, comes back too.
    Smaller parts have less power, and fewer calls, than all cells together; a gene with a count in fewer than
    20 of a part's cells is not called there.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run, with the NB, whose settings are those of the
        parts: one restart, split into training, validation and test cells anew, and as many epochs, or as
        many as suit the number of cells where that was so.
    groupby
        Column of ``obs`` with batches or donors, each pair of which is compared; cells without a value are
        left out. Random halves by default.
    n_splits
        How often the cells are halved.

    Returns
    -------
    ``None``, or the copy. Sets ``uns["zinbtools"]["zi_replication"]``, which
    `zinbtools.get.zi_replication_df` reads:

    ``parts``
        A row per part: ``split``, ``part``, ``n_cells``, and ``message``, why it was left out, if it was:
        fewer than 100 cells, or cells that cannot be fitted by themselves.
    ``genes``
        A row per part and gene with a count in it.

    Raises
    ------
    KeyError
        If there is no fit, or no such column.
    ValueError
        If the NB was not fitted, numbers are out of range, the counts cannot be used, or fewer than two parts
        have 100 cells.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.zi_replication(adata)
    >>> zt.get.zi_replication_df(adata)[["first", "second", "n_genes"]]
      first second  n_genes
    0    1a     1b       50
    """
    check_anndata(adata, copy)
    rule = CallRule(alpha, negligible_dropout, smallest_dropout)
    rule.check()
    fit = Fitted.read(adata, key)
    check_nb(fit)
    run = Run.on(device)
    sample = sample_of(adata, fit)
    random = np.random.default_rng(seed_sequence(rng))
    wanted = list(_halves(adata.n_obs, n_splits, random) if groupby is None else _groups(adata, groupby))
    if sum(len(p.cells) >= FEWEST_CELLS for p in wanted) < 2:
        sizes = ", ".join(f"{p.name!r} {len(p.cells)}" for p in wanted)
        what = "random halves" if groupby is None else f"groupby {groupby!r}"
        raise ValueError(
            f"{what} must give at least 2 parts of {FEWEST_CELLS} cells or more to compare, found {sizes}."
        )
    settings = replace(fit.settings.of_models(["nb"]), split=fit.settings.preset.shares)
    rows, genes = _tested(sample, settings, wanted, run, rule, random)
    target = target_of(adata, copy)
    target.uns[fit.keys.uns][ZI_REPLICATION.name] = {
        ZI_PARTS.name: pd.DataFrame(rows, columns=ZI_PARTS.holds),
        ZI_GENES.name: genes,
        "params": storable({"groupby": groupby, "alpha": alpha}),
    }
    return target if copy else None


def _halves(n_obs: int, n_splits: int, random: np.random.Generator) -> Iterator[Part]:
    for split in range(1, n_splits + 1):
        for half, cells in zip("ab", np.array_split(random.permutation(n_obs), 2), strict=True):
            yield Part(split, f"{split}{half}", np.sort(cells))


def _groups(adata: AnnData, groupby: str) -> Iterator[Part]:
    labels = checked_column(adata.obs, groupby, "groupby", "obs")
    for name, cells in labels.groupby(labels, observed=True).indices.items():
        yield Part(1, str(name), np.sort(cells))


def _tested(
    sample: Sample,
    settings: FitSettings,
    wanted: Sequence[Part],
    run: Run,
    rule: CallRule,
    random: np.random.Generator,
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """A row per part, and the tests of the genes of all parts."""
    rows: list[dict[str, Any]] = []
    genes = []

    def test(part: Part) -> tuple[dict[str, Any], pd.DataFrame | None]:
        """Test some cells, whose counts are gone before those of the next are taken."""
        counts, of_part = part_of(sample, settings, part.cells)
        seed, found, message = int(random.integers(2**63)), None, ""
        if counts.n_obs < FEWEST_CELLS:
            message = f"fewer than {FEWEST_CELLS} cells"
        else:
            try:
                with untold():
                    found = refitted(counts, of_part, run, rule=rule, seed=seed)
            except (ValueError, KeyError) as error:  # what cannot be fitted in one part is no reason to stop
                message = sentence(error)
        row = {"split": part.split, "part": part.name, "n_cells": counts.n_obs, "message": message}
        return row, found

    for row, found in counting(map(test, wanted), len(wanted), "parts of the cells", "part", one):
        rows.append(row)
        if found is not None:
            genes.append(found[KEPT].rename_axis("gene").reset_index().assign(part=row["part"]))
    if len(genes) < 2:
        reasons = "; ".join(
            f"{row['part']!r}: {row['message'].rstrip('.')}" for row in rows if row["message"]
        )
        raise ValueError(f"fewer than 2 parts could be fitted by themselves ({reasons}).")
    return rows, pd.concat(genes, ignore_index=True)
