"""Checks of data that the model itself made: positions and tail probabilities are uniform."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import stats

import zinbtools as zt
from zinbtools.get._fitted import Fitted
from zinbtools.model.vae import CountVAE

N_SETS, N_CELLS, N_DRAWS = 200, 100, 19


def made_by(model: CountVAE, seed: int) -> np.ndarray:
    """New cells from the prior, by torch's samplers."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(1, N_CELLS, model.config.n_latent, generator=generator)
    library = model.library_mean + model.library_variance.sqrt() * torch.randn(
        1, N_CELLS, 1, generator=generator
    )
    with torch.no_grad():
        parameters = model.decode(z, library, SimpleNamespace(covariates=torch.zeros(N_CELLS, 0)))
        return parameters.distribution().sample(generator)[0].numpy()


@pytest.fixture(scope="module")
def results() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tails of each gene and positions of the distances, over many sets of counts."""
    adata = zt.simulate.zisynth(n_obs=400, rng=1)
    zt.tl.fit_nb_zinb(adata, models="zinb", max_epochs=15, layers=(), progress=False)
    model = Fitted.read(adata).load("zinb", torch.device("cpu"))
    tails, positions = [], []
    for seed in range(N_SETS):
        new = AnnData(made_by(model, seed), var=adata.var)
        new.obs["zinbtools_split"] = "test"
        new.uns["zinbtools"] = adata.uns["zinbtools"].copy()
        zt.tl.ppc(
            new,
            n_samples=N_DRAWS,
            n_null=N_DRAWS,
            checks=["dropout_ratio", "cv", "mean"],
            latent="prior",
            rng=seed,
        )
        tails.append(zt.get.ppc_df(new).assign(seed=seed))
        positions.append(zt.get.ppc_ks_df(new).assign(seed=seed))
    return pd.concat(tails), pd.concat(positions)


@pytest.mark.slow
@pytest.mark.parametrize("check", ["dropout_ratio", "cv", "mean"])
def test_positions_of_the_distances_are_uniform(
    results: tuple[pd.DataFrame, pd.DataFrame], check: str
) -> None:
    positions = results[1].query("check == @check")["position"]
    assert len(positions) == N_SETS
    assert stats.kstest(positions, "uniform").pvalue > 1e-3
    assert (positions > 0.9).mean() < 0.1 + 3 * np.sqrt(0.09 / N_SETS)


@pytest.mark.slow
@pytest.mark.parametrize("check", ["cv", "mean"])
def test_tail_probabilities_are_uniform(results: tuple[pd.DataFrame, pd.DataFrame], check: str) -> None:
    """Gene by gene, over the sets: the twenty values that they can have without ties, four at a time."""
    frame = results[0].query("check == @check")
    tails = frame.pivot_table(index="seed", columns="gene", values="tail", dropna=False).to_numpy()
    assert tails.shape == (N_SETS, 50)
    seen = np.array([np.histogram(gene, bins=5, range=(0, 1))[0] for gene in tails.T])
    p_values = stats.chisquare(seen, axis=1).pvalue
    assert stats.kstest(p_values, "uniform").pvalue > 1e-4
    assert p_values.min() > 1e-3 / 50
    # genes of one set depend on each other; sets do not
    error = tails.mean(1).std() / np.sqrt(N_SETS)
    assert abs(tails.mean() - 0.5) < 4 * error


@pytest.mark.slow
def test_ties_make_tails_of_shares_no_more_extreme(results: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Many genes have the same few zeros in data and draws: they gain nothing by it, nor lose."""
    frame = results[0].query("check == 'dropout_ratio'")
    by_set = frame.groupby("seed")["tail"].mean()
    assert abs(by_set.mean() - 0.5) < 4 * by_set.std() / np.sqrt(N_SETS)
    assert frame["tail"].var() < 1.1 / 12
    extreme = (frame["p_value"] < 0.1).groupby(frame["seed"]).mean()
    assert extreme.mean() < 0.1 + 4 * extreme.std() / np.sqrt(N_SETS)
