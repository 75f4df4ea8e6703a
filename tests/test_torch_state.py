"""What a session has set in torch, or of threads, changes no result, and is there again afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

import zinbtools as zt
from zinbtools.jobs.torch_state import torch_defaults


@contextmanager
def setting(write: Callable[[Any], Any], value: Any, before: Any) -> Iterator[None]:
    write(value)
    try:
        yield
    finally:
        write(before)


SESSIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: setting(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "device": lambda: setting(torch.set_default_device, "meta", None),
    "device in a block": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "products": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "long turns": lambda: setting(sys.setswitchinterval, 0.02, 0.005),
}


def state() -> tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled(),
        torch.get_float32_matmul_precision(),
        getattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision", None),  # since torch 2.9
        torch.get_num_threads(),
        sys.getswitchinterval(),
    )


def results() -> dict[str, np.ndarray]:
    """Something of every verb that uses torch."""
    adata = zt.simulate.zisynth(n_obs=120)
    adata.obs["sample"] = ["a", "b"] * 60
    quick: dict[str, Any] = {"batch_key": "sample", "max_epochs": 2, "progress": False}
    zt.tl.tune(adata, max_evals=1, n_samples=3, **quick)
    zt.tl.model_selection(adata, n_restarts=1, folds=1, n_samples=3, n_null=2, **quick)
    zt.tl.zi_scores(adata)
    zt.tl.ppc(adata, n_samples=2, n_null=2)
    zt.tl.marginal_ll(adata, n_samples=3)
    return {
        "latent": adata.obsm["X_zinb"],
        "mean": adata.layers["nb_mean"],
        "score": adata.var["zi_score"].to_numpy(),
        "nll": zt.get.metrics_df(adata)["value"].to_numpy(),
        "trials": zt.get.tuning_df(adata)["loss"].to_numpy(),
        "ppc": zt.get.ppc_df(adata).select_dtypes("number").to_numpy(),
        "block": zt.get.expected_counts(adata, obs=adata.obs_names[:5]).to_numpy(),
        "dropout": zt.get.posterior_dropout(adata).to_numpy(),
        "weights": zt.get.model(adata, "zinb").scale.weight.detach().numpy(),
    }


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return results()


@pytest.mark.filterwarnings("ignore:The log likelihood under")
@pytest.mark.parametrize("session", SESSIONS)
def test_the_session_changes_no_bit_and_is_left_as_it_was(
    session: str, expected: dict[str, np.ndarray]
) -> None:
    with SESSIONS[session]():
        before = state()
        found = results()
        assert state() == before
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_of_two_threads_the_last_one_gives_the_session_back() -> None:
    inside, leave = Event(), Event()

    def stay() -> torch.dtype:
        with torch_defaults():
            inside.set()
            leave.wait(60)
            return torch.get_default_dtype()

    with SESSIONS["float64"](), ThreadPoolExecutor(1) as thread:
        other = thread.submit(stay)
        inside.wait(60)
        with torch_defaults():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float32
        leave.set()
        assert other.result() == torch.float32
        assert torch.get_default_dtype() == torch.float64


def test_the_session_is_there_again_after_an_error() -> None:
    with SESSIONS["float64"](), SESSIONS["products"]():
        with pytest.raises(ZeroDivisionError), torch_defaults():
            raise ZeroDivisionError
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("n", [16, 57, 128, 300])
def test_products_are_in_single_precision(n: int) -> None:
    """Also where torch is told that bfloat16 would do."""
    x, y = torch.randn(2, 3, 128, n, generator=torch.Generator().manual_seed(0))
    with torch_defaults():
        together, alone = torch.bmm(x, y.mT), x[0] @ y[0].T
    exact = torch.bmm(x.double(), y.double().mT)
    assert (together - exact).abs().max() < 1e-6 * n
    assert (alone - exact[0]).abs().max() < 1e-6 * n
