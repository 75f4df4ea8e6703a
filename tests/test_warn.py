"""A warning shows the line of the script, not one of the package."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
from anndata import AnnData

import zinbtools as zt


def twice(adata: AnnData) -> None:
    adata.X = 2 * adata.X
    zt.tl.fit_nb_zinb(adata, max_epochs=1, progress=False)


def no_layers(adata: AnnData) -> None:
    zt.tl.model_selection(
        adata, n_restarts=1, folds=1, max_epochs=1, n_samples=2, n_null=2, progress=False, layer_memory=0
    )


def of_a_view(adata: AnnData) -> None:
    zt.tl.zero_test(adata[:200])


@pytest.mark.parametrize("call", [twice, no_layers, of_a_view])
def test_the_line_is_that_of_the_call(call: Callable[[AnnData], None], counts: AnnData) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call(counts)
    told = [warning for warning in told if "mode.chained_assignment" not in str(warning.message)]  # anndata's
    assert {warning.filename for warning in told} == {__file__}
    first = call.__code__.co_firstlineno
    assert all(first < warning.lineno <= first + 5 for warning in told)
