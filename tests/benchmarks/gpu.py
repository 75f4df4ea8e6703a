"""What a GPU is good for: agreement with the CPU, steps per second, and a whole comparison.

``python tests/benchmarks/gpu.py [--data FOLDER]`` is meant to run in under six minutes. It prints how far
the likelihood and its gradient differ between the devices in double precision, the time of a step of 1, 10
and 100 restarts and how often the host waits for the device meanwhile, and the time and the held-out
likelihood of `zt.tl.fit_nb_zinb`. Without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import torch

import zinbtools as zt
from zinbtools.model.autograd import AutogradStack
from zinbtools.model.config import FitConfig
from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Streams
from zinbtools.model.likelihood import log_likelihood
from zinbtools.model.vae import CountVAE, Shape

N_STEPS = 200


def agreement(data: dict[str, CountData]) -> float:
    """Largest relative difference of likelihood and gradients between the devices, in double precision."""
    random = np.random.default_rng(0)
    shape = 3, 100, data["cpu"].n_genes
    drawn = [random.normal(size=shape), random.normal(size=(3, 1, shape[2])), random.normal(size=shape)]
    found = []
    for here in data.values():
        batch = here.batch(torch.arange(shape[1]), torch.float64)
        parameters = [torch.tensor(p, device=here.device, requires_grad=True) for p in drawn]
        value = log_likelihood(batch, *parameters)
        value.sum().backward()
        found.append([value.detach().cpu(), *(p.grad.cpu() for p in parameters)])
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in zip(*found, strict=True))


def seconds_a_step(data: CountData, n_restarts: int) -> tuple[float, int]:
    """Wall seconds of a step of all restarts, and how often the host waits in `N_STEPS` of them."""
    seeds = list(range(n_restarts))
    model = CountVAE("zinb", Shape(data.n_genes), FitConfig(max_epochs=1), n_restarts).to(data.device)
    everyone = torch.arange(data.n_cells)
    initialise(model, data, everyone, everyone, Streams(seeds, data.device))
    stack = AutogradStack(model, data, seeds)
    random = torch.Generator().manual_seed(0)
    for n in (20, N_STEPS):
        torch.cuda.synchronize()
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            start = time.perf_counter()
            for _ in range(n):
                cells = [torch.randperm(data.n_cells, generator=random)[:128] for _ in seeds]
                stack.step(cells, 1e-3)
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()
    return (time.perf_counter() - start) / N_STEPS, len(waits)


def whole(adata: anndata.AnnData, device: str, n_restarts: int) -> str:
    """Wall seconds of both models' restarts and of their evaluation, and the NLL of each."""
    adata, start = adata.copy(), time.perf_counter()
    zt.tl.fit_nb_zinb(adata, n_restarts=n_restarts, device=device, rng=0, layers=(), progress=False)
    trained = time.perf_counter()
    zt.tl.marginal_ll(adata)
    evaluated = time.perf_counter()
    metrics = zt.get.metrics_df(adata).query("metric == 'nll'")
    nll = ", ".join(f"{name} {value:.2f}" for name, value in metrics.groupby("model")["value"].mean().items())
    return f"training {trained - start:.1f} s, evaluation {evaluated - trained:.1f} s, NLL {nll}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder with pbmc4k_hvg2000.h5ad (default: simulated counts)"
    )
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch sees no CUDA device: nothing was measured.")
        return
    print(torch.cuda.get_device_name(), torch.__version__)
    adata = (
        zt.simulate.gamma_poisson(n_obs=4000, n_vars=2000, rng=0)
        if arguments.data is None
        else anndata.read_h5ad(arguments.data / "pbmc4k_hvg2000.h5ad")
    )
    for name, some in (("57 genes", adata[:, :57]), (f"{adata.n_vars:,} genes", adata)):
        some = some[np.asarray(some.X.sum(1)).ravel() > 0].copy()
        data = {device: CountData(some.X, device=device) for device in ("cpu", "cuda")}
        print(f"{name}: largest relative difference to the CPU in double precision {agreement(data):.1e}")
        for n_restarts in (1, 10, 100):
            seconds, n_waits = seconds_a_step(data["cuda"], n_restarts)
            print(
                f"{name}, {n_restarts} restarts: {1e3 * seconds:.2f} ms a step, {n_waits} waits", flush=True
            )
        for device in ("cuda", "cpu"):
            print(f"{name}, 3 restarts of both models, {device}: {whole(some, device, 3)}", flush=True)


if __name__ == "__main__":
    main()
