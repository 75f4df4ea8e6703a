"""A fit and what follows it on a pretended device: nothing is mixed, and the answers are the host's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pretended_device import DEVICE, Pretended, pretended_device

import zinbtools as zt
from zinbtools.get import _fitted


@contextmanager
def whatever_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """The pretended device, wherever verbs look one up."""
    original = _fitted.resolve_device
    with monkeypatch.context() as patch, pretended_device() as pretended:
        for module in list(sys.modules.values()):
            if getattr(module, "resolve_device", None) is original:
                patch.setattr(module, "resolve_device", lambda device: DEVICE)
        yield pretended


def fit(adata: AnnData) -> pd.Series:
    """The negative log likelihoods of both models, after a fit and its checks."""
    zt.tl.fit_nb_zinb(adata, max_epochs=8, n_restarts=2, batch_key="sample", rng=0, n_jobs=1, progress=False)
    zt.tl.marginal_ll(adata, n_samples=20)
    zt.tl.ppc(adata, n_samples=10, n_null=19, checks=("dropout_ratio", "cv", "pit"))
    return zt.get.metrics_df(adata).query("metric == 'nll'").groupby("model")["value"].mean()


@pytest.mark.slow
def test_a_fit_and_what_follows_it(counts, monkeypatch) -> None:
    host, device = counts, counts.copy()
    expected = fit(host)
    with whatever_is_asked_for(monkeypatch) as pretended:
        found = fit(device)
        assert pretended.launches["_fused_adam_"] > 100
        zt.tl.zi_scores(device)
        zt.tl.explain_zeros(device)
        zt.tl.embed(device, layers=("mean", "dropout"))
        for values in (zt.get.expected_counts(device, model="zinb"), zt.get.posterior_dropout(device)):
            assert values.shape == device.shape
    np.testing.assert_allclose(found, expected, rtol=0.02)
    for layer in ("nb_mean", "zinb_mean"):
        assert np.corrcoef(host.layers[layer].ravel(), device.layers[layer].ravel())[0, 1] > 0.95
