"""What verbs add is said where scanpy says such things."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import scanpy as sc
from anndata import AnnData

import zinbtools as zt


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What scanpy logs at a verbosity."""
    before, file = (sc.settings.verbosity, sc.settings.logfile), io.StringIO()
    sc.settings.verbosity, sc.settings.logfile = request.param, file
    yield file
    sc.settings.verbosity, sc.settings.logfile = before


@pytest.mark.parametrize("log", [3], indirect=True)
def test_new_names_are_said(counts: AnnData, log: io.StringIO) -> None:
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    said = log.getvalue()
    assert said.startswith("--> added\n")
    for name in ("'nb_mean' (adata.layers)", "'X_nb' (adata.obsm)", "'zinbtools' (adata.uns)"):
        assert name in said
    assert "true_counts" not in said
    copy = zt.tl.marginal_ll(counts, n_samples=3, copy=True)
    said = log.getvalue().removeprefix(said)
    assert "'nb_marginal_ll' (adata.obs)" in said
    assert "nb_marginal_ll" in copy.obs
    before = log.getvalue()
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    assert log.getvalue() == before


@pytest.mark.parametrize("log", [1, 2], indirect=True)
def test_nothing_is_said_to_others(counts: AnnData, log: io.StringIO) -> None:
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    assert log.getvalue() == ""
