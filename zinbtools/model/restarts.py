"""Restarts in groups: each a stack of replicates on one split, trained apart from the others, anywhere."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from itertools import accumulate, chain, pairwise
from threading import Lock
from typing import Any, NamedTuple

import torch

from ..jobs import Checkpoints, Where, fingerprint, run
from ..jobs.progress import progress_bar
from ..jobs.torch_state import ONEDNN
from .config import FitConfig, Likelihood
from .data import CountData
from .training import Cells, EpochRecord, Failure, Training, train
from .vae import CountVAE, Shape

_GENES_TOGETHER, _MOST_TOGETHER = 256, 4  # genes of all replicates in a stack on a CPU, and replicates


class Group(NamedTuple):
    """Restarts of one model that are trained in one program, on one of the splits."""

    likelihood: Likelihood
    config: FitConfig
    seeds: list[int]
    split: int

    @property
    def key(self) -> str:
        """Name what the group computes."""
        settings = repr((sorted(asdict(self.config).items()), self.seeds, self.split))
        return f"{self.likelihood}-{hashlib.sha256(settings.encode()).hexdigest()[:32]}"

    @property
    def n_epochs(self) -> int:
        """The most that its restarts take together."""
        return len(self.seeds) * (self.config.max_epochs or 0)


class _Epochs:
    """The epochs that groups have behind them, as a bar shows them; threads count together."""

    def __init__(self, bar: Any) -> None:
        self._bar, self._done, self._lock = bar, Counter[str](), Lock()

    def add(self, group: Group, n: int) -> None:
        with self._lock:
            self._done[group.key] += n
            self._bar.update(n)

    def finish(self, group: Group) -> None:
        """Add those that were not needed, or not done here."""
        self.add(group, group.n_epochs - self._done[group.key])


def train_restarts(
    likelihoods: Sequence[Likelihood],
    data: CountData,
    shape: Shape,
    splits: Sequence[Cells],
    config: FitConfig | Mapping[Likelihood, FitConfig],
    *,
    seeds: Sequence[Sequence[int]],
    order_seed: int,
    n_jobs: int = 1,
    executor: Where = "threads",
    resume: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> list[dict[Likelihood, Training]]:
    """Train one replicate per split, likelihood and seed; no result depends on where and in which groups.

    Parameters
    ----------
    likelihoods, data, shape, order_seed
        As for `training.train`.
    splits
        Which cells are for what: once, or once per fold.
    config
        As for `training.train`, one for all likelihoods or one for each.
    seeds
        Of each split, one per restart; the likelihoods share them.
    n_jobs, executor
        As for `jobs.run`. The restarts of each likelihood are shared out to ``n_jobs`` also where an
        executor is given.
    progress
        Show a bar over the epochs of all restarts, which says how many train side by side.
    """
    configs = config if isinstance(config, Mapping) else dict.fromkeys(likelihoods, config)
    jobs = [
        Group(name, configs[name], part, split)
        for split, of_split in enumerate(seeds)
        for name in likelihoods
        for part in split_evenly(of_split, stack_size(data, len(of_split), kept=resume is not None), n_jobs)
    ]
    n_workers = min(n_jobs, len(jobs))
    kept = None if resume is None else _checkpoints(resume, data, shape, splits, order_seed)
    settings: dict[str, Any] = {"data": data, "shape": shape, "splits": splits, "order_seed": order_seed}
    trained: dict[int, Training] = {}
    side_by_side = f", {n_workers} {executor}" if n_workers > 1 and isinstance(executor, str) else ""
    what = " and ".join(name.upper() for name in likelihoods) + side_by_side
    with progress_bar(sum(group.n_epochs for group in jobs), what, "epoch", shown=progress) as bar:
        epochs = _Epochs(bar)
        done = run(
            partial(_train_group, epochs=epochs if executor == "threads" else None, **settings),
            jobs,
            n_jobs=n_workers,
            executor=executor,
            keys=None if kept is None else [group.key for group in jobs],
            checkpoints=kept,
        )
        for place, training in done:
            trained[place] = training
            epochs.finish(jobs[place])
    parts: list[dict[Likelihood, list[Training]]] = [{name: [] for name in likelihoods} for _ in splits]
    for place, group in enumerate(jobs):
        parts[group.split][group.likelihood].append(trained[place])
    return [{name: merge(groups) for name, groups in of_split.items()} for of_split in parts]


def stack_size(data: CountData, n_restarts: int, *, kept: bool = False) -> int:
    """Choose how many replicates to stack in one program.

    A GPU takes all, as launching a step costs more than computing it. On a CPU, where products can be made
    together, a few replicates of few genes share what calling them costs; more would push each other's
    weights out of the cache. Where a file is ``kept`` of each stack, each replicate has its own, which more
    restarts or other workers find again.
    """
    if data.device.type != "cpu":
        return n_restarts
    if kept or not (ONEDNN and data.in_memory):
        return 1
    return min(max(1, _GENES_TOGETHER // data.n_genes), _MOST_TOGETHER)


def split_evenly(seeds: Sequence[int], largest: int, n_jobs: int) -> list[list[int]]:
    """Cut restarts into as few parts, of nearly one size, as ``largest`` and ``n_jobs`` workers allow.

    Every worker has part of every model, as far as there are restarts, and as many parts as the others.

    Examples
    --------
    >>> split_evenly([5, 6, 7, 8, 9], largest=4, n_jobs=1)
    [[5, 6, 7], [8, 9]]
    >>> split_evenly([5, 6, 7, 8, 9], largest=2, n_jobs=2)
    [[5, 6], [7], [8], [9]]
    """
    n = len(seeds)
    n_rounds = -(-n // (largest * n_jobs))
    n_parts = min(n, n_rounds * n_jobs)
    sizes = [n // n_parts + (part < n % n_parts) for part in range(n_parts)]
    return [list(seeds[start:end]) for start, end in pairwise(accumulate(sizes, initial=0))]


def merge(groups: Sequence[Training]) -> Training:
    """Join the groups to one training, numbered through, as if all had been stacked."""
    first = groups[0]
    if len(groups) == 1:
        return first
    states = [group.model.replicate_state() for group in groups]
    model = deepcopy(first.model)
    model.set_replicate_state({name: torch.cat([state[name] for state in states]) for name in states[0]})
    starts = accumulate((len(group.best_epoch) for group in groups), initial=0)
    numbered = list(zip(starts, groups, strict=False))
    history = [r._replace(replicate=start + r.replicate) for start, g in numbered for r in g.history]
    failures = [f._replace(replicate=start + f.replicate) for start, g in numbered for f in g.failures]
    return Training(
        model,
        best_epoch=[epoch for group in groups for epoch in group.best_epoch],
        history=sorted(history, key=lambda record: (record.epoch, record.replicate)),
        failures=sorted(failures, key=lambda f: (f.epoch, f.step, f.replicate)),
    )


def data_fingerprint(data: CountData, *splits: Cells) -> str:
    """Digest all that fits take from the data."""
    of_cells = (array for cells in splits for array in (cells.train, cells.stop, cells.prior))
    arrays = chain(data.stored(), (data.group, data.covariates, data.log_library), of_cells)
    return fingerprint(array.numpy(force=True) for array in arrays)


def _train_group(
    group: Group, epochs: _Epochs | None, *, splits: Sequence[Cells], **settings: Any
) -> Training:
    after_epoch = None if epochs is None else partial(epochs.add, group, len(group.seeds))
    return train(
        group.likelihood,
        cells=splits[group.split],
        config=group.config,
        seeds=group.seeds,
        after_epoch=after_epoch,
        **settings,
    )


def _checkpoints(
    folder: str | os.PathLike[str],
    data: CountData,
    shape: Shape,
    splits: Sequence[Cells],
    order_seed: int,
) -> Checkpoints[Training]:
    identity = {
        "jobs": "restarts",
        "data": data_fingerprint(data, *splits),
        "order_seed": order_seed,
        "device": data.device.type,
    }
    return Checkpoints(folder, identity, pack=_pack, unpack=partial(_unpack, shape=shape, device=data.device))


def _pack(training: Training) -> dict[str, Any]:
    return {
        "likelihood": training.model.likelihood,
        "config": asdict(training.model.config),
        "weights": {name: value.numpy(force=True) for name, value in training.model.state_dict().items()},
        "best_epoch": training.best_epoch,
        "history": training.history,
        "failures": training.failures,
    }


def _unpack(packed: Mapping[str, Any], *, shape: Shape, device: torch.device) -> Training:
    config, best_epoch = FitConfig(**packed["config"]), packed["best_epoch"]
    model = CountVAE(packed["likelihood"], shape, config, len(best_epoch))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in packed["weights"].items()})
    return Training(
        model.to(device).eval(),
        best_epoch=best_epoch,
        history=[EpochRecord(*record) for record in packed["history"]],
        failures=[Failure(*failure) for failure in packed["failures"]],
    )
