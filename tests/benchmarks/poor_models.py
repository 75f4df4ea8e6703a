"""How far to trust the log likelihood of models that are poor: ``python tests/benchmarks/poor_models.py``.

100 test cells of 150 genes, in five types; NB and ZINB that were trained for four or five epochs, or whose
encoder was disturbed afterwards, twenty models. Each estimate by 100 draws is held against 4,000 draws around
the modes that thirty starts find. It prints one line a model, and the medians of those that were left alone
and of those of which all cells were searched for other modes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

import zinbtools as zt
from zinbtools.get._fitted import Fitted
from zinbtools.model import marginal
from zinbtools.model.data import CountData
from zinbtools.model.vae import CountVAE
from zinbtools.stats.importance import error_of_mean

N_CELLS, N_GENES = 200, 150
SPLIT = (0.4, 0.1, 0.5)


def counts(seed: int) -> AnnData:
    random = np.random.default_rng(700 + seed)
    kind = random.integers(0, 5, N_CELLS)
    mean = np.exp(random.uniform(np.log(0.05), np.log(20), N_GENES))
    effect = np.exp(random.normal(0, 0.8, (5, N_GENES)) * (random.random((5, N_GENES)) < 0.4))
    mu = random.lognormal(0, 0.4, N_CELLS)[:, None] * mean * effect[kind]
    drawn = random.poisson(random.gamma(2, mu / 2)).astype(np.float32)
    return AnnData(drawn[:, drawn.any(0)])


def models(seed: int) -> Iterator[tuple[str, CountVAE, CountData, torch.Tensor]]:
    adata, device = counts(seed), torch.device("cpu")
    for trained, max_epochs in (("short", 4 + seed % 2), ("disturbed", None)):
        zt.tl.fit_nb_zinb(
            adata, max_epochs=max_epochs, split=SPLIT, layers=(), n_jobs=1, progress=False, rng=seed
        )
        fit = Fitted.read(adata)
        data, cells = fit.data(adata, device), torch.as_tensor(fit.cells(adata, "test"))
        for name in fit.models:
            model = fit.load(name, device, fit.best_restart(name)).eval()
            if trained == "disturbed":
                disturb(model, 1 + seed / 2, torch.Generator().manual_seed(seed))
            yield f"{seed} {trained} {name}", model, data, cells


def disturb(model: CountVAE, times: float, generator: torch.Generator) -> None:
    """Add noise to where the encoder thinks cells are, some times the spread of its weights."""
    for weights in (model.encoder.mean.weight.data, model.encoder.mean.bias.data):
        weights += times * weights.std() * torch.randn(weights.shape, generator=generator)


def record(model: CountVAE, data: CountData, cells: torch.Tensor) -> dict[str, float]:
    """Error of the mean over cells, and what is said of it."""
    n_starts: list[int] = []
    find = marginal._modes

    def noted(target: object, model: CountVAE, data: CountData, n: int, *streams: object) -> object:
        n_starts.append(n)
        return find(target, model, data, n, *streams)

    with patch.object(marginal, "_modes", noted):
        found = marginal.marginal_log_likelihood(model, data, cells)
    thorough = partial(marginal.marginal_log_likelihood, model, data, cells, n_samples=4000, seed=9)
    with patch.object(marginal, "_LET_PASS", -1.0), patch.object(marginal, "_STARTS", 30):
        reference = thorough()
    return {
        "searched": max(n_starts) > 1,
        "error": float((found.log_likelihood - reference.log_likelihood).mean()),
        "stated": float(error_of_mean(found.standard_error[0].numpy())),
        "high_k": float((found.pareto_k > 0.7).double().mean()),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = {}
    for seed in range(5):
        for name, *given in models(seed):
            rows[name] = record(*given)
            print(name, {key: round(value, 3) for key, value in rows[name].items()}, flush=True)
    found = pd.DataFrame.from_dict(rows, orient="index")
    found["ratio"] = found["error"].abs() / found["stated"]
    print(
        found.groupby("searched").agg(
            {"error": ["size", "median", "min"], "stated": "median", "ratio": "max"}
        )
    )


if __name__ == "__main__":
    main()
