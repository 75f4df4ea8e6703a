"""Tables of what `tl.power` foretells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .._check.arguments import checked
from .._record.parts import POWER, POWER_GENES, POWER_NEEDED, POWER_VERDICT, SELECTION
from .._record.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_PARTS = {"needed": POWER_NEEDED, "genes": POWER_GENES, "verdict": POWER_VERDICT}


@checked
def power_df(
    adata: AnnData, *, of: Literal["needed", "genes", "verdict"] = "needed", key: str | None = None
) -> pd.DataFrame:
    """Return how many cells would decide, or how surely a number of cells does.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.power` was run.
    of
        What is asked.

    Returns
    -------
    ``"needed"``: a row per gene, ``dropout`` and ``depth``: ``n_cells``, the smallest number with the power
    that was asked for, infinite beyond a billion; the gene's ``mean`` count before dropout at that depth, its
    ``inverse_dispersion``, and its ``call`` in the pilot.

    ``"genes"``: a row per gene, ``dropout``, ``depth`` and ``n_cells``: ``power``, the probability that it is
    called zero-inflated or, with a dropout of 0, negligible.

    ``"verdict"``: a row per ``n_cells`` (``n_test_cells`` of them for the test) and ``n_restarts``:
    ``above``, ``inside`` and ``below``, the probabilities that the interval lies there with respect to the
    region of practical equivalence (over its lower edge alone counts as below) if the true gain of the ZINB
    is ``difference``, and ``expected_above``, ``expected_inside``, ``expected_below``, the same averaged over
    what the pilot leaves open of the gain.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.zi_scores(adata)
    >>> zt.tl.power(adata, dropout=[0.1, 0.3])
    >>> zt.get.power_df(adata)["dropout"].unique().tolist()
    [0.1, 0.3]
    """
    record = Record.read(adata, key)
    if of == "verdict" and POWER in record and POWER_VERDICT not in record:
        raise KeyError(f"there is no verdict to foretell; {record.hint(SELECTION.verb)} Then zt.tl.power.")
    return record[_PARTS[of]].copy()
