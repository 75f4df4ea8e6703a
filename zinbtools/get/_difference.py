"""The paired difference between the two models on the evaluated cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._anndata.reading import SPLITS
from .._check.arguments import checked
from .._record.record import Record
from .._words.models import MODELS
from .._words.numbers import counted, with_error

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class NLLDifference:
    """Log likelihood of a cell under the ZINB minus that under the NB, with the error of the cells alone.

    It is one restart of each model, so that it is no answer: `zinbtools.get.verdict` has the error of the
    seeds too.

    Attributes
    ----------
    mean
        Mean of log p_ZINB(x_n) - log p_NB(x_n) over cells, nats per cell; positive where the ZINB predicts
        the cells better.
    se
        Its standard error over cells (NaN for a single cell). It holds what the choice of cells and the
        importance samples contribute; it does not hold the choice of a seed.
    n_cells
        Number of cells evaluated under both models.
    n_by_split
        Numbers of these cells by what they were for the fit, "train", "validation", "test" or "other";
        empty where the split is not known.

    Examples
    --------
    >>> print(NLLDifference(mean=1.534, se=0.081, n_cells=427, n_by_split={"test": 427}))
    ZINB - NB = +1.534 ± 0.081 nats per cell (427 test cells, one restart; the error is that of the cells
    alone, not of another seed: see zt.get.verdict)
    """

    mean: float
    se: float
    n_cells: int
    n_by_split: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        """Return one line with the number, whose error stands beside it, and the cells."""
        if self.n_cells == 1:
            return (
                f"ZINB - NB = {self.mean:+,.4g} nats in {self._cells}, one restart: too few to have an error"
            )
        size = with_error(self.mean, self.se)
        sign = "" if size.startswith("-") else "+"
        return (
            f"ZINB - NB = {sign}{size} nats per cell ({self._cells}, one restart; "
            "the error is that of the cells alone, not of another seed: see zt.get.verdict)"
        )

    @property
    def _cells(self) -> str:
        """How many cells of what kind; that the models know them, where they were trained on some."""
        if len(self.n_by_split) <= 1:
            cells = counted(self.n_cells, " ".join([*self.n_by_split, "cell"]))
        else:
            kinds = ", ".join(f"{n:,} {kind}" for kind, n in self.n_by_split.items())
            cells = f"{counted(self.n_cells, 'cell')}: {kinds}"
        if not (n_train := self.n_by_split.get("train", 0)):
            return cells
        which = f"{n_train:,} of them" if n_train < self.n_cells else "them"
        return f"{cells}; the models were trained on {which}, so that this is not held out"


@checked
def nll_difference(adata: AnnData, *, key: str | None = None) -> NLLDifference:
    """Compute the paired difference of the log likelihood of the evaluated cells, with its standard error.

    For each evaluated cell d_n = log p_ZINB(x_n) - log p_NB(x_n); mean of d_n and sd(d_n) / sqrt(n). Both are
    of the best restart of each model. Whether another seed would say the same, and whether the difference
    matters, is asked by `zinbtools.tl.model_selection`.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.marginal_ll` was run for both models.

    Returns
    -------
    Mean, standard error and number of cells; it prints as one line, which says so if the models were trained
    on some of the cells.

    Raises
    ------
    KeyError
        If the marginal log likelihood of either model is missing.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> obs = pd.DataFrame({"nb_marginal_ll": [-5.0, -7.0, np.nan], "zinb_marginal_ll": [-4.0, -6.5, np.nan]})
    >>> obs.index = ["a", "b", "c"]
    >>> nll_difference(AnnData(obs=obs))
    NLLDifference(mean=0.75, se=0.25, n_cells=2)
    """
    record = Record.read(adata, key)
    names = [record.keys.marginal_ll(model) for model in MODELS]
    nb, zinb = (record.column("obs", name, "marginal_ll") for name in names)
    known = np.isfinite(nb) & np.isfinite(zinb)
    gain = (zinb - nb)[known]
    if not len(gain):
        raise KeyError(
            f"no cell has a log likelihood under both models in adata.obs[{names[0]!r}] and {names[1]!r}; "
            f"{record.hint('marginal_ll')}"
        )
    se = float(gain.std(ddof=1)) / sqrt(len(gain)) if len(gain) > 1 else float("nan")
    split = adata.obs.get(record.keys.split)
    return NLLDifference(float(gain.mean()), se, len(gain), {} if split is None else _by_split(split[known]))


def _by_split(labels: pd.Series) -> dict[str, int]:
    """Count cells by split, in the order in which a fit names them; of other labels nothing is known."""
    names = labels.astype(object).where(labels.isin(SPLITS), "other").value_counts()
    return {name: int(names[name]) for name in (*SPLITS, "other") if name in names}
