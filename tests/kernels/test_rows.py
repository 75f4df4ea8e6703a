"""Counts in compressed rows, as kernels read them."""

from __future__ import annotations

import numpy as np
import torch

from zinbtools.kernels import network
from zinbtools.model.data import CountData


def test_some_rows_become_a_dense_matrix() -> None:
    x = np.array([[0, 3, 0, 40], [1, 0, 0, 0], [2, 2, 5, 7]])
    rows, places = CountData(x).rows(torch.tensor([2, 0]))
    assert rows.single_arrays.constant.dtype == np.float32
    assert rows.arrays.constant.dtype == np.float64
    out = np.full((2, 4), np.nan, dtype=np.float32)
    network.gather(rows.single_arrays, places.numpy(), out)
    np.testing.assert_allclose(out, np.log1p(x[[2, 0]]), rtol=1e-6)
