"""Refits of what was asked of a fit: to counts of the NB's own making, or to some of the cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.reading import FEWEST_TEST_CELLS, checked_column
from .._check.rng import RNG, integers, seed_sequence
from .._record.keys import Keys
from .._words.answers import Call
from ..get._fitted import Fitted
from ..get._settings import FitSettings
from ..jobs.progress import counting, one, untold
from ..model.data import CountData
from ..model.vae import CountVAE
from ..model.zeros import replicated_counts
from ..stats.zero_inflation import bootstrap_pval
from ._conditional import CallRule, conditional_test
from ._setup import Run, Sample, Seeds, prepare
from ._trained import Trained, train

FEWEST_CELLS = 100  # of a part of the data that is fitted by itself


def settings_again(adata: AnnData, fit: Fitted) -> FitSettings:
    """What the fit was asked, on the split that it had if this has the cells that a fit needs.

    Imports may have no test cells, and other cells than those that were fitted have no split; these are split
    anew.
    """
    settings, split = fit.settings, fit.keys.split
    labels = checked_column(adata.obs, split, "split", "obs")
    sizes, all_have_one = labels.value_counts(), not labels.isna().any()
    enough = sizes.get("test", 0) >= FEWEST_TEST_CELLS and sizes.get(settings.common.stop_on, 0)
    return replace(settings, split=split) if enough and all_have_one else settings


def sample_of(adata: AnnData, fit: Fitted) -> Sample:
    """Read the counts that were fitted; ValueError if the AnnData holds other numbers by now."""
    return Sample(fit.counts(adata).matrix, adata, pd.Index(fit.settings.genes, dtype=object))


def on_the_same_split(fit: Trained) -> tuple[Sample, FitSettings]:
    """The counts of a fit that is not written yet, its split among their columns, and its settings."""
    setup, column = fit.setup, Keys().split
    return setup.sample.with_column(column, setup.labels), replace(setup.settings, split=column)


def twin_of(
    sample: Sample, nb: CountVAE, data: CountData, settings: FitSettings, seed: int
) -> tuple[Sample, FitSettings]:
    """Draw counts of the same cells and genes from the NB, with settings to fit them with."""
    twin = sample.with_counts(replicated_counts(nb, data, seed=seed))
    return twin, replace(settings, genes=tuple(twin.genes))


def part_of(sample: Sample, settings: FitSettings, cells: np.ndarray) -> tuple[Sample, FitSettings]:
    """Take some of the cells, by index, with settings to fit them with; a lone batch is no covariate."""
    part, batch = sample.part(np.sort(cells)), settings.batch_key
    alone = batch is not None and part.cells.obs[batch].nunique() < 2
    genes = tuple(part.genes)
    return part, replace(settings.of_part(), genes=genes, batch_key=None if alone else batch)


def refitted(
    sample: Sample, settings: FitSettings, run: Run, *, split: str = "all", rule: CallRule, seed: int
) -> pd.DataFrame:
    """Fit the NB anew, once, and test its genes; rows by the gene's name."""
    seeds = Seeds.spawn(seed)
    fit = train(prepare(sample, settings, seeds.split, run.device), seeds, run)
    tests = conditional_test(fit, fit.data, fit.cells(split), rule, n_threads=run.n_threads)
    return pd.DataFrame(tests, index=sample.genes)


def bootstrap(
    adata: AnnData,
    fit: Fitted,
    data: CountData,
    found: Mapping[str, np.ndarray],
    *,
    n_twins: int,
    split: str,
    rule: CallRule,
    run: Run,
    rng: RNG,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Test counts that the NB has drawn; a row per twin, and a p value per fitted gene, see `bootstrap_pval`.

    Parameters
    ----------
    found
        What `conditional_test` found in the data.
    """
    sample, settings = sample_of(adata, fit), settings_again(adata, fit).of_models(["nb"])
    seeds = integers(seed_sequence(rng), n_twins)
    nb = fit.load("nb", run.device)
    rows, null = [], np.full((n_twins, len(sample.genes)), np.nan)

    def test(seed: int) -> pd.DataFrame:
        """Test a twin, whose counts are gone before the next is drawn."""
        drawn = twin_of(sample, nb, data, settings, seed)
        with untold():
            return refitted(*drawn, run, split=split, rule=rule, seed=seed)

    for k, tested in enumerate(counting(map(test, seeds), n_twins, "twins", "twin", one)):
        null[k] = tested["ratio"].reindex(sample.genes).to_numpy()
        rows.append(
            {
                "twin": k,
                "n_genes": len(tested),
                "n_called": int((tested["call"] == Call.ZERO_INFLATED).sum()),
                "share_pval_05": float((tested["pval"] <= 0.05)[tested["pval_adj"].notna()].mean()),
                "largest_ratio": float(tested["ratio"].max()),
            }
        )
    return pd.DataFrame(rows), bootstrap_pval(found["ratio"], null, found["mean_count"])
