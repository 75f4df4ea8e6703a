"""One measurement of one side, in a process of its own; `against_scvi` starts it with a job in JSON.

Runs under both interpreters: everything that differs between the sides is in `ours` and `theirs`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import data
import numpy as np
import torch
from anndata import AnnData

Record = dict[str, Any]
Job = dict[str, Any]


def epoch(side: Any, job: Job) -> Record:
    """Seconds per epoch, validation included: the difference between many epochs and one."""
    adata = data.read(job["data"], Path(job["cache"]))
    first = first_fit(side, adata, job["model"])

    def train(n_epochs: int) -> float:
        return timed(lambda: side.fit(adata, [job["model"]], epochs=n_epochs, stop=False))[0]

    one, more = train(1), 1
    if one < job["seconds"]:  # every difference is from this one, so that it had better not be a slow one
        one = min(one, train(1))
    least = max(job["seconds"], one / 2)
    while (seconds := train(1 + more) - one) < least:
        more = math.ceil(more * min(4, 1.5 * least / max(seconds, 0.1 * least)))
    return {"seconds_per_epoch": seconds / more, "epochs": more, "first": first}


def converge(side: Any, job: Job) -> Record:
    """A whole fit with early stopping: the validation ELBO by epoch, the time, the test NLL."""
    adata = data.read(job["data"], Path(job["cache"]))
    first = first_fit(side, adata, job["model"])
    seconds, fitted = timed(lambda: side.fit(adata, [job["model"]], seed=job["turn"]))
    nll = side.test_nll(fitted)[0]
    return {"seconds": seconds, "validation_elbo": side.validation_elbo(fitted), "nll": nll, "first": first}


def reach(side: Any, job: Job) -> Record:
    """The time of a whole fit of so many epochs; None where no number of epochs was enough."""
    if job["epochs"] is None:
        return {"seconds": None}
    adata = data.read(job["data"], Path(job["cache"]))
    first = first_fit(side, adata, job["model"])
    fit = {"epochs": job["epochs"], "stop": False, "seed": job["turn"]}
    return {"seconds": timed(lambda: side.fit(adata, [job["model"]], **fit))[0], "first": first}


def study(side: Any, job: Job) -> Record:
    """Both models, ``n_fits`` times each, in one call where there is such a call."""
    adata = data.read(job["data"], Path(job["cache"]))
    for model in ("nb", "zinb"):
        first_fit(side, adata, model)
    return side.study(adata, ["nb", "zinb"], job["n_fits"], seed=job["turn"])


def spread(side: Any, job: Job) -> Record:
    """Both models, ``n_fits`` times each."""
    return study(side, job | {"turn": 0})


def singles(side: Any, job: Job) -> Record:
    """Both models, ``n_fits`` times each, in as many calls with seeds that no study uses."""
    adata = data.read(job["data"], Path(job["cache"]))
    fits = [side.study(adata, ["nb", "zinb"], 1, seed=1000 + i)["nll"] for i in range(job["n_fits"])]
    return {"nll": {model: [fit[model][0] for fit in fits] for model in ("nb", "zinb")}}


def memory(side: Any, job: Job) -> Record:
    """Peak memory of a fit, beside the counts themselves; MB."""
    adata = data.read(job["data"], Path(job["cache"]))
    size = adata.X.data.nbytes + adata.X.indices.nbytes + adata.X.indptr.nbytes
    before = peak_memory()
    side.fit(adata, [job["model"]], epochs=2)
    return {"peak": peak_memory(), "before": before, "counts": size / 1e6}


def versions(side: Any, job: Job) -> Record:
    """Of all that computes."""
    return {"Python": platform.python_version()} | {name: version(name) for name in side.PACKAGES}


def first_fit(side: Any, adata: AnnData, model: str) -> float:
    """Seconds of a small fit, which imports what is imported late and compiles what is compiled."""
    found = np.asarray(adata.X[:1000].sum(0)).ravel() > 0
    small = adata[:1000, found].copy()
    return timed(lambda: side.fit(small, [model], epochs=1, stop=False))[0]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and what it gives."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def peak_memory() -> float:
    """Most memory that this process has had in use, MB; the kernel counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


MEASUREMENTS: dict[str, Callable[[Any, Job], Record]] = {
    measurement.__name__: measurement
    for measurement in (epoch, converge, reach, study, spread, singles, memory, versions)
}


def main() -> None:
    """Print the record as the last line."""
    job = json.loads(sys.argv[1])
    # neither side gets more cores than it is said to have threads
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    torch.set_num_threads(job["threads"])
    record = MEASUREMENTS[job["measurement"]](import_module(job["side"]), job)
    print("\n" + json.dumps(record))


if __name__ == "__main__":
    main()
