"""What is compiled in other processes is what this one uses."""

from __future__ import annotations

import importlib
import sys

import numpy as np
from scipy import sparse

from zinbtools.kernels import gene_bursts, gene_fit, gene_states
from zinbtools.stats import compile_beside
from zinbtools.stats.bursts import fit_bursts
from zinbtools.stats.count_models import Copies, fit_counts
from zinbtools.stats.dispersion_by_state import dispersion_by_state

PARTS = (compile_beside.fits, compile_beside.fits_of_reads, compile_beside.others)
KERNELS = (gene_fit.fit_block, gene_bursts.fit_bursts, gene_states.height_by_state)


def signatures() -> list[set[object]]:
    return [set(kernel.signatures) for kernel in KERNELS]


def test_it_has_the_types_that_are_asked_for_later() -> None:
    for part in PARTS:
        part()
    before = signatures()
    rng = np.random.default_rng(0)
    x, means = rng.poisson(3.0, (60, 4)), rng.gamma(9.0, 1 / 9, (60, 4))
    positive = rng.gamma(9.0, 1 / 9, (60, 4))
    for dtype in (np.float32, np.float64, np.int64):
        for index in (np.int32, np.int64):
            counts = sparse.csc_array(x.astype(dtype))
            counts.indices, counts.indptr = counts.indices.astype(index), counts.indptr.astype(index)
            fit_counts(counts, means)
            fit_bursts(counts, means)
    fit_counts(x, means[:, 0], covariates=np.c_[np.ones(60), np.arange(60) % 2], interval_level=0.95)
    fit_counts(x, means, inverse_dispersions=positive, dropout_odds=positive, negligible_dropout=0.01)
    fit_counts(x, means[:, 0], copies=Copies(np.full(60, 3.0), np.full(60, 2.0), 0.1), families=["nb"])
    fit_bursts(x, means, inverse_dispersions=positive, dropout_odds=positive)
    dispersion_by_state(x[:, 0], means[:, 0], rng.normal(size=(60, 2)), positive[:, 0])
    assert all(before)
    assert signatures() == before


def test_the_commands_are_python_that_runs() -> None:
    for part in PARTS:
        python, flag, code = compile_beside._command(part)
        assert (python, flag) == (sys.executable, "-c")
        module, name = code.removeprefix("from ").split("; ")[0].split(" import ")
        assert getattr(importlib.import_module(module), name) is part
