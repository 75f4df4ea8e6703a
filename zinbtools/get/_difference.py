"""The paired difference between the two models on the evaluated cells."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from .._check.arguments import checked
from .._record.record import Record
from .._words.models import MODELS, model_name
from .._words.numbers import with_error

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class NLLDifference:
    """Gain of the ZINB over the NB in the log likelihood of a cell, with its error.

    Attributes
    ----------
    mean
        Mean of log p_ZINB(x_n) - log p_NB(x_n) over cells, nats per cell; POSITIVE = ZINB better.
    se
        Its standard error over cells (NaN for a single cell). It holds what the choice of cells and the
        importance samples contribute; it does not hold the choice of a seed.
    n_cells
        Number of cells evaluated under both models.

    Examples
    --------
    >>> print(NLLDifference(mean=1.534, se=0.081, n_cells=427))
    ZINB better by 1.534 ± 0.081 nats per cell (427 cells)
    >>> NLLDifference(mean=0.03, se=0.08, n_cells=427).favours is None
    True
    """

    mean: float
    se: float
    n_cells: int

    @property
    def favours(self) -> str | None:
        """``"nb"`` or ``"zinb"`` where the difference exceeds two standard errors, else None."""
        if not abs(self.mean) > 2 * self.se:
            return None
        return "zinb" if self.mean > 0 else "nb"

    def __str__(self) -> str:
        """Return one line with the verdict, the error and the number of cells."""
        if self.n_cells == 1:
            return f"no clear difference: ZINB - NB = {self.mean:,.4g} nats in one cell, too few to tell"
        size = f"{with_error(self.mean, self.se)} nats per cell ({self.n_cells:,} cells)"
        if self.favours is None:
            return f"no clear difference: ZINB - NB = {size}"
        return f"{model_name(self.favours)} better by {size.removeprefix('-')}"


@checked
def nll_difference(adata: AnnData, *, key: str | None = None) -> NLLDifference:
    """Compute the paired difference of the held-out log likelihood, with its standard error.

    For each evaluated cell d_n = log p_ZINB(x_n) - log p_NB(x_n); the mean of d_n and sd(d_n) / sqrt(n).

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.marginal_ll` was run for both models.

    Returns
    -------
    Mean, standard error and number of cells; it prints as one line.

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
    gain = (zinb - nb)[np.isfinite(nb) & np.isfinite(zinb)]
    if not len(gain):
        raise KeyError(
            f"no cell has a log likelihood under both models in adata.obs[{names[0]!r}] and {names[1]!r}; "
            f"{record.hint('marginal_ll')}"
        )
    se = float(gain.std(ddof=1)) / sqrt(len(gain)) if len(gain) > 1 else float("nan")
    return NLLDifference(mean=float(gain.mean()), se=se, n_cells=len(gain))
