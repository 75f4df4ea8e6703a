"""What a GPU is good for: agreement with the CPU, the time of a step, and a whole fit with its checks.

``python tests/benchmarks/gpu.py [--data FOLDER]`` runs in under six minutes: a part that would begin later
than `--minutes` is left out. Each part prints what it found; a line that begins with PASS or FAIL compares it
with a limit, and a part that ends in an error prints that and lets the others run. ``--device cpu`` puts the
CPU in the place of the GPU, with few steps, to try the script. The exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import copy
import math
import subprocess
import sys
import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import anndata
import numpy as np
import torch

import zinbtools as zt
from zinbtools.model import graphs
from zinbtools.model.autograd import AutogradStack, has_bfloat16
from zinbtools.model.config import FitConfig, Likelihood
from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Streams
from zinbtools.model.likelihood import log_likelihood
from zinbtools.model.marginal import _Target
from zinbtools.model.vae import CountVAE, Shape

LIKELIHOODS: tuple[Likelihood, ...] = ("nb", "zinb")
N_BEFORE = 20  # steps before those that are timed: draws ahead, libraries, recordings


class Report:
    """Prints what is found, runs parts one after the other, and remembers what failed."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes
        self.failed: list[str] = []

    def say(self, line: str) -> None:
        print(line, flush=True)

    def check(self, what: str, value: float, limit: float) -> None:
        """Compare with a limit that must not be exceeded; NaN does."""
        good = value <= limit
        self.say(f"{'PASS' if good else 'FAIL'}  {what}: {value:.3g}, limit {limit:.3g}")
        if not good:
            self.failed.append(what)

    def fail(self, what: str, why: str) -> None:
        self.say(f"FAIL  {what}: {why}")
        self.failed.append(what)

    def run(self, name: str, part: Callable[[], None]) -> None:
        if time.monotonic() > self._end:
            self.fail(name, "left out, as the time is over")
            return
        start = time.monotonic()
        self.say(f"\n{name}")
        try:
            part()
        except Exception:
            self.say(traceback.format_exc())
            self.fail(name, "ended in an error")
        self.say(f"({name}: {time.monotonic() - start:.0f} s)")


class Device(NamedTuple):
    """The GPU, or the CPU in its place."""

    name: str

    @property
    def is_gpu(self) -> bool:
        return self.name.startswith("cuda")

    def wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()

    @contextmanager
    def waits(self) -> Iterator[list[warnings.WarningMessage]]:
        """Collect what makes the host wait, a warning each."""
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            if self.is_gpu:
                torch.cuda.set_sync_debug_mode("warn")
            try:
                yield found
            finally:
                if self.is_gpu:
                    torch.cuda.set_sync_debug_mode("default")
            found[:] = [w for w in found if "synchroniz" in str(w.message)]

    def launches(self, run: Callable[[], object]) -> int:
        """Count the launches of kernels, or of whole graphs, on a GPU; of operators on a CPU."""
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if self.is_gpu:
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=kinds) as profile:
            run()
            self.wait()
        words = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch") if self.is_gpu else ("aten::",)
        return sum(event.count for event in profile.key_averages() if event.key.startswith(words))


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, relative to one plus the magnitude."""
    one, other = one.detach().cpu().double(), other.detach().cpu().double()
    return float(((one - other).abs() / (1 + other.abs())).max())


def built(likelihood: Likelihood, data: CountData, n_restarts: int) -> CountVAE:
    model = CountVAE(likelihood, Shape(data.n_genes), FitConfig(max_epochs=1), n_restarts).to(data.device)
    everyone = torch.arange(data.n_cells, device=data.device)
    initialise(model, data, everyone, everyone, Streams(range(n_restarts), data.device))
    return model


def agreement(report: Report, here: CountData, host: CountData) -> None:
    """Likelihood, its gradient, and the density of latent states, beside the CPU's."""
    random = np.random.default_rng(0)
    shape = 3, 100, host.n_genes
    drawn = [random.normal(size=shape), random.normal(size=(3, 1, shape[2])), random.normal(size=shape)]
    for dtype, limit in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        for likelihood in LIKELIHOODS:
            found = []
            for data in (here, host):
                batch = data.batch(torch.arange(shape[1]), dtype)
                given = drawn if likelihood == "zinb" else drawn[:2]
                parameters = [
                    torch.tensor(p, dtype=dtype, device=data.device, requires_grad=True) for p in given
                ]
                value = log_likelihood(batch, *parameters)
                value.sum().backward()
                found.append([value, *(p.grad for p in parameters)])
            worst = max(relative(a, b) for a, b in zip(*found, strict=True))
            report.check(f"likelihood and gradient, {likelihood}, {str(dtype)[6:]}", worst, limit)
    with torch.no_grad():
        for likelihood in LIKELIHOODS:
            cells = torch.arange(64)
            model = built(likelihood, host, 1).double().eval().requires_grad_(False)
            target = _Target(model, host, cells)
            states = target.mean + torch.tensor(random.normal(size=(20, *target.mean.shape)))
            expected = target.log_joint(states.flatten(0, 1), cells.repeat(20)).view(20, 64)
            there = _Target(copy.deepcopy(model).to(here.device), here, cells)
            worst = relative(there.log_joint_together(states.to(here.device)), expected)
            report.check(f"density of latent states, {likelihood}, float64", worst, 1e-9)


def milliseconds(
    device: Device, data: CountData, likelihood: Likelihood, n_restarts: int, n_steps: int, **how: bool
) -> tuple[float, int, float]:
    """Return the wall time of a step of all restarts, waits in all of them, and launches per step."""
    stack = AutogradStack(built(likelihood, data, n_restarts), data, range(n_restarts), **how)
    random = torch.Generator("cpu").manual_seed(0)
    minibatches = [
        [torch.randperm(data.n_cells, generator=random)[:128] for _ in range(n_restarts)]
        for _ in range(n_steps)
    ]
    for cells in (minibatches * N_BEFORE)[:N_BEFORE]:
        stack.step(cells, 1e-3)
    device.wait()
    with device.waits() as found:
        start = time.perf_counter()
        for cells in minibatches:
            elbo = stack.step(cells, 1e-3)
    device.wait()
    seconds = (time.perf_counter() - start) / n_steps
    if not elbo.isfinite().all():
        raise ArithmeticError(f"ELBOs that are no numbers: {elbo.tolist()}")
    few = minibatches[: min(16, n_steps)]
    launches = device.launches(lambda: [stack.step(cells, 1e-3) for cells in few]) / len(few)
    return 1e3 * seconds, len(found), launches


def steps(report: Report, device: Device, data: CountData, numbers: list[int], n_steps: int) -> None:
    """Time steps of both models, in single precision and bfloat16, as launched and as recorded."""
    halves = [False, True] if data.n_genes >= 256 else [False]
    if device.is_gpu and not has_bfloat16(data.device):
        report.say("this GPU has no products in bfloat16")
        halves = [False]
    for likelihood in LIKELIHOODS:
        found: dict[tuple[int, bool, bool], float] = {}
        for n, halved, recorded in product(numbers, halves, (False, True)):
            how = f"{'bfloat16' if halved else 'float32'}{', recorded' if recorded else ''}"
            what = f"{likelihood}, {data.n_genes:,} genes, {n} restarts, {how}"
            try:
                ms, n_waits, launches = milliseconds(
                    device, data, likelihood, n, n_steps, halved=halved, graphs=recorded
                )
            except RuntimeError as error:  # as too little memory, or what a graph does not hold
                report.fail(what, f"{type(error).__name__}: {error}")
                continue
            found[n, halved, recorded] = ms
            report.say(f"      {what}: {ms:.2f} ms a step, {launches:.0f} launches")
            report.check(f"{what}, waits in {n_steps} steps", n_waits, 0)
        if not device.is_gpu:
            continue
        ms = defaultdict(lambda: math.nan, found)
        first, second, last = (ms[n, False, False] for n in numbers)
        report.check(f"{likelihood}, time of {numbers[1]} restarts over that of one", second / first, 3)
        gain = ms[numbers[0], False, True] / first
        report.check(f"{likelihood}, time of a recorded step over one that is not", gain, 0.8)
        if len(halves) == 2:
            gain = ms[numbers[-1], True, False] / last
            report.check(f"{likelihood}, time in bfloat16 over float32, {numbers[-1]} restarts", gain, 1.05)


def learns(report: Report, data: CountData, n_steps: int) -> None:
    """Bfloat16 and recorded steps lead where others do: the ELBO of all cells after some steps."""
    everyone = torch.arange(data.n_cells)
    for likelihood in LIKELIHOODS:
        ends = {}
        for halved, recorded in ((False, False), (True, False), (False, True)):
            stack = AutogradStack(built(likelihood, data, 4), data, range(4), halved=halved, graphs=recorded)
            random = torch.Generator("cpu").manual_seed(1)
            for _ in range(n_steps):
                stack.step(
                    [everyone[torch.randperm(len(everyone), generator=random)[:128]] for _ in range(4)], 5e-3
                )
            ends[halved, recorded] = float(np.mean(stack.elbo(everyone)))
        plain = ends[False, False]
        report.say(f"      {likelihood}: ELBO {plain:.2f} nats per cell after {n_steps} steps")
        for name, key in (("bfloat16", (True, False)), ("recorded", (False, True))):
            report.check(
                f"{likelihood}, {name}, relative difference of the ELBO", abs(ends[key] / plain - 1), 2e-3
            )


class Whole(NamedTuple):
    """Wall seconds of each verb, and what they found."""

    seconds: dict[str, float]
    nll: dict[str, float]
    ks: float
    adata: anndata.AnnData


def whole(device: Device, adata: anndata.AnnData, n_epochs: int) -> Whole:
    adata, seconds = adata.copy(), {}

    def timed(name: str, verb: Callable[..., object], **settings: object) -> None:
        start = time.perf_counter()
        with device.waits() as waits:
            verb(adata, device=device.name, rng=0, **settings)
        device.wait()
        seconds[f"{name} ({len(waits)} waits)"] = time.perf_counter() - start

    # not embed, which draws nothing anew and so takes no rng
    settings = {"n_restarts": 3, "max_epochs": n_epochs, "layers": (), "progress": False}
    timed("fit_nb_zinb", zt.tl.fit_nb_zinb, **settings)
    timed("marginal_ll", zt.tl.marginal_ll)
    timed("ppc", zt.tl.ppc, n_samples=50, n_null=19)
    start = time.perf_counter()
    zt.tl.embed(adata, layers=("mean", "dropout"), device=device.name)
    seconds["layers"] = time.perf_counter() - start
    metrics = zt.get.metrics_df(adata)
    nll = metrics.query("metric == 'nll'").groupby("model")["value"].mean().to_dict()
    ks = metrics[metrics["metric"].str.startswith("ks_")]["value"].mean()
    return Whole(seconds, nll, float(ks), adata)


def wholes(report: Report, device: Device, adata: anndata.AnnData, n_epochs: int) -> None:
    """A fit, its evaluation, checks and layers, on the GPU and on the CPU."""
    whole(Device("cpu"), zt.simulate.zisynth(n_obs=200, rng=0), 1)  # which compiles
    found = [whole(where, adata, n_epochs) for where in (device, Device("cpu"))]
    for where, one in zip((device.name, "cpu"), found, strict=True):
        report.say(f"      {where}: " + ", ".join(f"{name} {s:.1f} s" for name, s in one.seconds.items()))
        report.say(f"      {where}: NLL " + ", ".join(f"{name} {v:.2f}" for name, v in one.nll.items()))
    here, host = found
    for name in host.nll:
        report.check(
            f"{name}, relative difference of the NLL", abs(here.nll[name] / host.nll[name] - 1), 0.01
        )
    report.check("difference of the mean KS of the checks", abs(here.ks - host.ks), 0.05)
    for layer in ("nb_mean", "zinb_mean"):
        both = [np.log1p(one.adata.layers[layer]).ravel() for one in found]
        report.check(f"{layer}, one minus the correlation", 1 - np.corrcoef(*both)[0, 1], 0.02)
    if device.is_gpu:
        gain = sum(here.seconds.values()) / sum(host.seconds.values())
        report.say(f"      the GPU takes {gain:.2f} of the CPU's time")


def with_counts(adata: anndata.AnnData) -> anndata.AnnData:
    """The genes, and then the cells, that have a count."""
    adata = adata[:, np.asarray(adata.X.sum(0)).ravel() > 0]
    return adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy()


def tests() -> None:
    """The tests that need a GPU."""
    folder = Path(__file__).parents[1] / "model"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(folder)]
    subprocess.run(command, check=True, timeout=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder with pbmc4k_hvg2000.h5ad (default: simulated counts)"
    )
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:N, or cpu to try the script")
    parser.add_argument(
        "--minutes", type=float, default=4.5, help="after which no part begins (default: 4.5)"
    )
    arguments = parser.parse_args()
    device = Device(arguments.device)
    if device.is_gpu and not torch.cuda.is_available():
        print("torch sees no CUDA device: nothing was measured.")
        return
    report, numbers, n_steps, n_epochs, n_cells = Report(arguments.minutes), [1, 10, 100], 100, 20, 4000
    if device.is_gpu:
        report.say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    else:
        numbers, n_steps, n_epochs, n_cells = [1, 3], 5, 2, 500
        graphs.record = lambda run: run
    adata = (
        zt.simulate.gamma_poisson(n_obs=n_cells, n_vars=2000, rng=0)
        if arguments.data is None
        else anndata.read_h5ad(arguments.data / "pbmc4k_hvg2000.h5ad")[:n_cells].copy()
    )
    both = {"57 genes": with_counts(adata[:, :57]), "2,000 genes": with_counts(adata)}
    few, many = (CountData(some.X, device=device.name) for some in both.values())
    report.run("Agreement", lambda: agreement(report, few, CountData(both["57 genes"].X)))
    report.run("Learning", lambda: learns(report, many, 4 * n_steps))
    for name, data in zip(both, (few, many), strict=True):
        report.run(f"Steps, {name}", partial(steps, report, device, data, numbers, n_steps))
    for name, some in both.items():
        report.run(f"A whole fit, {name}", partial(wholes, report, device, some, n_epochs))
    if device.is_gpu:
        report.run("Tests that need a GPU", tests)
    report.say("\nFAILED: " + "; ".join(report.failed) if report.failed else "\nall passed")
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
