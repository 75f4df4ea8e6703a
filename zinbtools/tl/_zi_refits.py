"""The conditional test around an NB that is fitted anew: to counts of its own making, or to some cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.access import gene_names
from .._check.rng import RNG, integers, seed_sequence
from ..get._fitted import Fitted, resolve_device
from ..stats.zero_inflation import CALLS, bootstrap_pval
from ._comparison import settings_of_fit, twin
from ._conditional import CallRule, conditional_test
from ._fit import fit_nb_zinb


def settings_of_nb(adata: AnnData, fit: Fitted, device: str) -> dict[str, Any]:
    """Settings of the NB that is there, for one restart of it and of nothing else."""
    return {
        **settings_of_fit(adata, fit.keys),
        "models": ("nb",),
        "config": None,  # what was tuned is in the settings
        "layers": (),
        "check_counts": False,  # the fit has seen to it
        "device": device,
        "progress": False,
    }


def refitted(
    counts: AnnData,
    settings: Mapping[str, Any],
    *,
    split: str = "all",
    rule: CallRule,
    seed: int,
) -> pd.DataFrame:
    """Fit the NB to counts of which nothing else is kept, and test its genes; rows by the gene's name."""
    fit_nb_zinb(counts, **settings, rng=seed)
    fit, device = Fitted.read(counts), resolve_device(settings["device"])
    found = conditional_test(counts, fit, fit.cells(counts, split), device, rule)
    return pd.DataFrame(found, index=gene_names(counts)[fit.genes(counts)])


def bootstrap(
    adata: AnnData,
    fit: Fitted,
    found: Mapping[str, np.ndarray],
    *,
    n_twins: int,
    split: str,
    rule: CallRule,
    device: str,
    rng: RNG,
) -> tuple[pd.DataFrame, np.ndarray]:
    """What the test finds in counts that the NB has drawn; a row per twin, and a p value per fitted gene.

    Parameters
    ----------
    found
        What `conditional_test` found in the data.
    """
    where, genes = resolve_device(device), gene_names(adata)[fit.genes(adata)]
    settings = settings_of_nb(adata, fit, device)
    nb, data = fit.load("nb", where), fit.data(adata, where)
    rows, null = [], np.full((n_twins, len(genes)), np.nan)
    for k, seed in enumerate(integers(seed_sequence(rng), n_twins)):
        counts, of_twin = twin(adata, fit, nb, data, settings, seed)
        tested = refitted(counts, of_twin, split=split, rule=rule, seed=seed)
        null[k] = tested["ratio"].reindex(genes).to_numpy()
        rows.append(
            {
                "twin": k,
                "n_genes": len(tested),
                "n_called": int((tested["call"] == CALLS[0]).sum()),
                "share_pval_05": float((tested["pval"] <= 0.05)[tested["pval_adj"].notna()].mean()),
                "largest_ratio": float(tested["ratio"].max()),
            }
        )
    return pd.DataFrame(rows), bootstrap_pval(found["ratio"], null, found["mean_count"])
