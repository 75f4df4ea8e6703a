"""How many epochs, at which rate and in which minibatches: what held-out cells say of each.

``python tests/benchmarks/training.py`` prints two tables, NB / ZINB: the validation ELBO after
shares of the default epochs, in thousandths of that after all; and the NLL of new cells, nats, by setting,
for models of 240 training cells, mean of two samples of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from data import load

import zinbtools as zt
from zinbtools.model.config import default_epochs

MODELS = ("nb", "zinb")
SHARES = {"half as many again": 1.5, "three quarters": 0.75, "half": 0.5, "a quarter": 0.25, "a tenth": 0.1}
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"minibatches of {size}": {"batch_size": size} for size in (16, 32, 64, 128)},
    "half the rate, 120 epochs": {"learning_rate": 8e-3, "max_epochs": 120},
}
N_FEW, N_NEW = 270, 600


def elbos(adata: AnnData, **settings: Any) -> list[float]:
    """The best validation ELBO of each model."""
    zt.tl.fit_nb_zinb(adata, progress=False, layers=(), **settings)
    return [zt.get.history_df(adata).groupby("model")["validation_elbo"].max()[model] for model in MODELS]


def by_share(make: Callable[[], AnnData]) -> dict[str, str]:
    """What fewer epochs lose or gain."""
    adata = make()
    n_epochs = default_epochs(round(0.8 * adata.n_obs))
    of_all, found = elbos(adata), {}
    for name, few in {**{s: round(n_epochs * share) for s, share in SHARES.items()}, "3 epochs": 3}.items():
        pairs = zip(elbos(adata, max_epochs=few), of_all, strict=True)
        found[name] = " / ".join(f"{1000 * (elbo - full) / abs(full):+.1f}" for elbo, full in pairs)
    return found


def by_setting(make: Callable[[], AnnData]) -> dict[str, str]:
    """NLL of new cells with few training cells."""
    of_settings: dict[str, list[list[float]]] = {name: [] for name in SETTINGS}
    for seed in range(2):
        adata = make()
        adata = adata[np.random.default_rng(seed).permutation(adata.n_obs)[: N_FEW + N_NEW]]
        adata = adata[:, np.asarray(adata.X[:N_FEW].sum(0)).ravel() > 0].copy()
        adata.obs["part"] = np.repeat(["validation", "train", "test"], [30, N_FEW - 30, N_NEW])
        for name, settings in SETTINGS.items():
            zt.tl.fit_nb_zinb(adata, **settings, split="part", layers=(), rng=seed, progress=False)
            zt.tl.marginal_ll(adata, n_samples=25)
            metrics = zt.get.metrics_df(adata)
            of_models = metrics[metrics["metric"] == "nll"].set_index("model")["value"]
            of_settings[name].append([of_models[model] for model in MODELS])
    means = {name: np.mean(found, axis=0) for name, found in of_settings.items()}
    return {name: " / ".join(f"{nll:.1f}" for nll in of_models) for name, of_models in means.items()}


def main() -> None:
    real = {f"{name}, {n} genes": partial(load, name, n) for name, n in (("cortex", 558), ("pbmc3k", 600))}
    large = {"pbmc4k, 2,000 genes": partial(load, "pbmc4k", 2000)}
    made = {f"ZISynth, {n:,} cells": partial(zt.simulate.zisynth, n_obs=n) for n in (600, 2000)}
    for measure, of in ((by_share, made | real | large), (by_setting, real)):
        print(pd.DataFrame({name: measure(make) for name, make in of.items()}).to_string(), flush=True)


if __name__ == "__main__":
    main()
