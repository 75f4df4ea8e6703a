"""scvi-tools, as the measurements see it; `ours` has the same functions."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable
from typing import Literal

import numpy as np
import scvi
from anndata import AnnData
from scvi.model import SCVI

Model = Literal["nb", "zinb"]

PACKAGES = ("scvi-tools", "torch", "lightning", "numpy", "scipy", "anndata", "scanpy", "numba")

warnings.simplefilter("ignore")
scvi.settings.verbosity = logging.ERROR
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def fit(
    adata: AnnData,
    models: Iterable[Model],
    *,
    epochs: int | None = None,
    stop: bool = True,
    seed: int = 0,
    compiled: bool = False,
) -> SCVI:
    """Train ``models``, one name, with the default settings but what makes the two sides comparable.

    That is the latent library size, and a KL weight of 1 from the start, where the default would rise over
    400 epochs and never be at 1 in a fit that stops before. At most 400 epochs by default.
    """
    (model,) = models
    scvi.settings.seed = seed
    SCVI.setup_anndata(adata)
    vae = SCVI(
        adata,
        n_hidden=128,
        n_latent=10,
        n_layers=1,
        dropout_rate=0.1,
        dispersion="gene",
        gene_likelihood=model,
        use_observed_lib_size=False,
    )
    parts = [np.flatnonzero(adata.obs["split"] == part) for part in ("train", "validation", "test")]
    vae.train(
        max_epochs=epochs or 400,
        accelerator="cpu",
        devices=1,
        batch_size=128,
        early_stopping=stop,
        check_val_every_n_epoch=1,
        enable_progress_bar=False,
        plan_kwargs={"n_epochs_kl_warmup": None} | ({"compile": True} if compiled else {}),
        datasplitter_kwargs={"external_indexing": parts},
    )
    return vae


def validation_elbo(fitted: SCVI) -> list[float]:
    """Nats per cell, higher is better, after each epoch; scvi-tools' history has minus this."""
    return (-fitted.history["elbo_validation"].iloc[:, 0].astype(float)).tolist()


def test_nll(fitted: SCVI) -> list[float]:
    """Nats per cell from 100 importance samples; scvi-tools' own mean is one over minibatches, unweighted."""
    test = np.flatnonzero(fitted.adata.obs["split"] == "test")
    by_cell = fitted.get_marginal_ll(indices=test, n_mc_samples=100, return_mean=False)
    assert len(by_cell) == len(test)
    return [-float(by_cell.double().mean())]


def study(adata: AnnData, models: Iterable[Model], n_fits: int, seed: int) -> dict[str, object]:
    """Fit both models ``n_fits`` times, one after the other; evaluate all."""
    seconds = evaluation_seconds = 0.0
    nll: dict[str, list[float]] = {}
    for model in models:
        for i in range(n_fits):
            start = time.perf_counter()
            vae = fit(adata, [model], seed=seed + i)
            fitted = time.perf_counter()
            nll.setdefault(model, []).extend(test_nll(vae))
            seconds += fitted - start
            evaluation_seconds += time.perf_counter() - fitted
    return {"seconds": seconds, "evaluation_seconds": evaluation_seconds, "nll": nll}
