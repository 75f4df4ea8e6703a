"""What verbs add is said where scanpy says such things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import scanpy as sc
from anndata import AnnData

import zinbtools as zt


@pytest.fixture
def _verbose(request: pytest.FixtureRequest) -> Iterator[None]:
    before, sc.settings.verbosity = sc.settings.verbosity, request.param
    yield
    sc.settings.verbosity = before


@pytest.mark.usefixtures("_verbose")
@pytest.mark.parametrize("_verbose", [3], indirect=True)
def test_new_names_are_said(counts: AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    said = capsys.readouterr().err
    assert said.startswith("--> added\n")
    for name in ("'nb_mean' (adata.layers)", "'X_nb' (adata.obsm)", "'zinbtools' (adata.uns)"):
        assert name in said
    assert "true_counts" not in said
    copy = zt.tl.marginal_ll(counts, n_samples=3, copy=True)
    assert "'nb_marginal_ll' (adata.obs)" in capsys.readouterr().err
    assert "nb_marginal_ll" in copy.obs
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_verbose")
@pytest.mark.parametrize("_verbose", [1, 2], indirect=True)
def test_nothing_is_said_to_others(counts: AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    assert capsys.readouterr().err == ""
