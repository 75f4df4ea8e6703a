from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zinbtools.get import NLLDifference, nll_difference


def with_log_likelihoods(nb: np.ndarray, zinb: np.ndarray) -> AnnData:
    obs = pd.DataFrame({"nb_marginal_ll": nb, "zinb_marginal_ll": zinb})
    obs.index = obs.index.astype(str)
    return AnnData(obs=obs)


def test_cells_are_paired() -> None:
    nb = np.array([-10.0, -1000.0, -500.0, np.nan])
    found = nll_difference(with_log_likelihoods(nb, nb + [1.0, 2.0, 3.0, np.nan]))
    assert found == NLLDifference(mean=2.0, se=pytest.approx(1 / np.sqrt(3)), n_cells=3)


@given(
    hnp.arrays(float, 12, elements=st.floats(-1e3, -1)),
    hnp.arrays(float, 12, elements=st.floats(-5, 5)),
    st.floats(-50, 50),
)
def test_a_common_gain_moves_the_mean_and_not_the_error(
    nb: np.ndarray, gain: np.ndarray, more: float
) -> None:
    before = nll_difference(with_log_likelihoods(nb, nb + gain))
    after = nll_difference(with_log_likelihoods(nb, nb + gain + more))
    assert after.mean - before.mean == pytest.approx(more, abs=1e-9)
    assert after.se == pytest.approx(before.se, abs=1e-9)
    swapped = nll_difference(with_log_likelihoods(nb + gain, nb))
    assert swapped.mean == pytest.approx(-before.mean, abs=1e-9)


ERROR = "the error is that of the cells alone, not of another seed: see zt.get.verdict)"


@pytest.mark.parametrize(
    ("mean", "se", "text"),
    [
        (1.0, 0.49, "ZINB - NB = +1.00 ± 0.49 nats per cell (9 cells, one restart; "),
        (-1.0, 0.49, "ZINB - NB = -1.00 ± 0.49 nats per cell (9 cells, one restart; "),
        (1.0, np.nan, "ZINB - NB = +1 ± nan nats per cell (9 cells, one restart; "),
    ],
)
def test_it_says_numbers_and_no_answer(mean: float, se: float, text: str) -> None:
    found = NLLDifference(mean, se, 9)
    assert str(found) == text + ERROR
    assert "better" not in str(found)
    assert hash(found) == hash(NLLDifference(mean, se, 9, {"test": 9}))


def test_one_cell_has_no_standard_error() -> None:
    found = nll_difference(with_log_likelihoods(np.array([-3.0]), np.array([-1.0])))
    assert np.isnan(found.se)
    assert str(found) == "ZINB - NB = +2 nats in 1 cell, one restart: too few to have an error"


@pytest.mark.parametrize(
    ("split", "cells"),
    [
        ("test test test", "(3 test cells, one restart; "),
        ("validation test test", "(3 cells: 1 validation, 2 test, one restart; "),
        (
            "train train test",
            "(3 cells: 2 train, 1 test; the models were trained on 2 of them, so that this is not held out, "
            "one restart; ",
        ),
        (
            "train train train",
            "(3 train cells; the models were trained on them, so that this is not held out, one restart; ",
        ),
        ("test test new", "(3 cells: 2 test, 1 other, one restart; "),
    ],
)
def test_it_says_which_cells(split: str, cells: str) -> None:
    """A fourth cell, which was not evaluated, is not told."""
    nb = np.array([-1.0, -2.0, -3.0, np.nan])
    adata = with_log_likelihoods(nb, nb + [1.0, 2.0, 3.0, np.nan])
    adata.obs["zinbtools_split"] = pd.Categorical([*split.split(), "train"])
    assert cells in str(nll_difference(adata))


def test_no_cell_in_common_is_said() -> None:
    with pytest.raises(KeyError, match=r"run zt\.tl\.marginal_ll\(adata\) first"):
        nll_difference(with_log_likelihoods(np.array([-3.0, np.nan]), np.array([np.nan, -1.0])))
