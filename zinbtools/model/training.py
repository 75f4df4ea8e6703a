"""One training loop: schedule, early stopping, best weights, and losses that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..jobs.threads import end_if_unwanted
from .autograd import AutogradStack
from .compiled import CompiledStack
from .config import FitConfig, Likelihood
from .data import Batch, CountData
from .initialisation import initialise
from .layers import Streams
from .vae import CountVAE, Shape

_WARM_UP = 0.05  # share of the steps over which the learning rate rises
_MOST_LOST = 10  # steps in a row whose ELBO may be no number, as one draw of the latent variables can make it


class EpochRecord(NamedTuple):
    """One replicate after one epoch; ELBOs in nats per cell."""

    replicate: int
    epoch: int
    train_elbo: float
    validation_elbo: float
    learning_rate: float


class Failure(NamedTuple):
    """A replicate whose loss stayed not finite; ``gene`` is the first concerned, -1 if it was no gene's."""

    replicate: int
    epoch: int
    step: int
    gene: int


@dataclass
class Training:
    """A trained model with all its replicates, in evaluation mode, and how it got there.

    Attributes
    ----------
    model
        The weights of a replicate that failed are those of its best epoch before, or where it started.
    best_epoch
        Per replicate, the epoch whose weights were kept; -1 for where it started.
    pruned
        The replicates that were below a floor.
    """

    model: CountVAE
    best_epoch: list[int]
    history: list[EpochRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    pruned: set[int] = field(default_factory=set)

    @property
    def failed(self) -> set[int]:
        """The replicates among the failures."""
        return {failure.replicate for failure in self.failures}


@dataclass(frozen=True)
class Cells:
    """Which cells are for what: ``stop`` decides when to stop, ``prior`` makes the library prior."""

    train: Tensor
    stop: Tensor
    prior: Tensor


def train(
    likelihood: Likelihood,
    data: CountData,
    shape: Shape,
    cells: Cells,
    config: FitConfig,
    *,
    seeds: Sequence[int],
    order_seed: int,
    floors: Mapping[int, float] | None = None,
    after_epoch: Callable[[], object] | None = None,
) -> Training:
    """Train one replicate per seed, side by side.

    Parameters
    ----------
    likelihood
        ``"nb"`` or ``"zinb"``.
    data, shape, cells
        The counts, their dimensions and their split.
    config
        The architecture and the optimiser; ``max_epochs`` must be set.
    seeds
        One per replicate, for initial weights, latent noise, dropout masks and, with ``order_seed``, the
        order of the cells.
    floors
        Numbers of epochs, and the validation ELBO that a replicate must have had by then to go on.
    after_epoch
        Called after each epoch, in the thread that trains.
    """
    model = CountVAE(likelihood, shape, config, len(seeds)).to(data.device)
    return _Loop(model, data, cells, seeds, order_seed, floors or {}).run(after_epoch)


def learning_rate(config: FitConfig, progress: float) -> float:
    """Learning rate at a share ``progress`` of all steps."""
    if config.schedule == "constant":
        return config.learning_rate
    warm_up = min(1.0, progress / _WARM_UP)
    return config.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * progress))


class Stack(Protocol):
    """R replicates that train side by side; what one computes does not depend on the others."""

    steps_between_reads: (
        int  # after how many steps their ELBOs are looked at, for which a device is waited for
    )

    def step(self, cells: Sequence[Tensor], rate: float) -> Tensor:
        """Descend along the gradient of a minibatch of each replicate's own; its mean ELBO before, (R,).

        The cells are given on the host. A replicate whose ELBO is not finite does not follow its gradient.
        """
        ...

    def elbo(self, cells: Tensor) -> list[float]:
        """Compute the mean ELBO over cells in evaluation mode, by draws that are the same in every call.

        The cells are given on the host.
        """
        ...

    def take(self, places: Sequence[int]) -> None:
        """Keep only these replicates, in this order."""
        ...

    def state(self, place: int) -> Mapping[str, Tensor]:
        """Return a replicate's parameters and batch norm statistics, by name; the next step changes them."""
        ...


def minibatches(data: CountData, cells: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the cells in random order, ``size`` at a time; one last cell alone is left out.

    (Batch normalisation cannot train on a single cell.)
    """
    order = data.shuffled(cells, generator)
    return data.ahead(chunk for chunk in order.split(size) if len(chunk) > 1)


class _Step(NamedTuple):
    """A step that has been taken: its number, each replicate's cells, and what to read of it, (R,)."""

    number: int
    cells: Sequence[Tensor]
    elbo: Tensor


@dataclass
class _Seen:
    """What a replicate's finite steps of an epoch add up to."""

    total: float = 0.0
    n_cells: int = 0

    def add(self, elbo: float, n_cells: int) -> None:
        self.total += elbo * n_cells
        self.n_cells += n_cells

    @property
    def mean(self) -> float:
        return self.total / self.n_cells if self.n_cells else math.nan


class _Loop:
    """The state of a training run; ``active`` are the replicates in the stack, by their original number."""

    def __init__(
        self,
        model: CountVAE,
        data: CountData,
        cells: Cells,
        seeds: Sequence[int],
        order_seed: int,
        floors: Mapping[int, float],
    ) -> None:
        config = model.config
        if config.max_epochs is None:
            raise ValueError("config.max_epochs must be set to train; default_epochs gives a value.")
        n = len(seeds)
        initialise(model, data, cells.train, cells.prior, Streams(seeds, data.device))
        self.model, self.data, self.floors = model, data, floors
        self.kept = {name: value.clone() for name, value in model.replicate_state().items()}
        make_stack = CompiledStack if data.device.type == "cpu" else AutogradStack
        self.stack: Stack = make_stack(model, data, seeds)
        self.config, self.n_epochs = config, config.max_epochs
        self.on_host, self.stop_on_host = cells.train.cpu(), cells.stop.cpu()
        # an order of the cells for each replicate: with a shared one, restarts would differ less than fits do
        self.orders = [torch.Generator().manual_seed(seed ^ order_seed) for seed in seeds]
        self.n_steps = self.n_epochs * math.ceil(len(cells.train) / config.batch_size)
        self.step = 0
        self.active = list(range(n))
        self.best = [-math.inf] * n
        self.waited, self.lost = [0] * n, [0] * n
        self.result = Training(model, best_epoch=[-1] * n)

    def run(self, after_epoch: Callable[[], object] | None) -> Training:
        for epoch in range(self.n_epochs):
            train_elbo = self._train_epoch(epoch)
            if not self.active:
                break
            validation_elbo = self.stack.elbo(self.stop_on_host)
            self._record(epoch, train_elbo, validation_elbo)
            if after_epoch is not None:
                after_epoch()
            self._leave(self._finished(epoch, validation_elbo))
            if not self.active:
                break
        never = {r for r, best in enumerate(self.best) if best == -math.inf} - self.result.failed
        self.result.failures += [Failure(replicate, epoch, self.step - 1, -1) for replicate in sorted(never)]
        self.model.set_replicate_state(self.kept)
        self.model.eval()
        return self.result

    def _train_epoch(self, epoch: int) -> list[float]:
        """Pass once over the training cells; mean ELBO of each active replicate over its finite steps."""
        started = list(self.active)
        seen = {replicate: _Seen() for replicate in started}
        orders = [
            minibatches(self.data, self.on_host, self.config.batch_size, self.orders[replicate])
            for replicate in started
        ]
        unread: list[_Step] = []
        for chunks in zip(*orders, strict=True):
            end_if_unwanted()
            cells = [chunk for r, chunk in zip(started, chunks, strict=True) if r in self.active]
            elbo = self.stack.step(cells, learning_rate(self.config, self.step / self.n_steps))
            unread.append(_Step(self.step, cells, elbo))
            self.step += 1
            if len(unread) == self.stack.steps_between_reads:
                self._read(epoch, unread, seen)
                unread = []
                if not self.active:
                    break
        if unread:
            self._read(epoch, unread, seen)
        return [seen[replicate].mean for replicate in self.active]

    def _read(self, epoch: int, steps: Sequence[_Step], seen: Mapping[int, _Seen]) -> None:
        """Add up the ELBOs of the active replicates, and let those go that have failed."""
        failed: set[int] = set()
        for (number, cells, _), elbos in zip(
            steps, torch.stack([s.elbo for s in steps]).tolist(), strict=True
        ):
            for place, (replicate, elbo) in enumerate(zip(self.active, elbos, strict=True)):
                if math.isfinite(elbo):
                    seen[replicate].add(elbo, len(cells[place]))
                self.lost[replicate] = 0 if math.isfinite(elbo) else self.lost[replicate] + 1
                if self.lost[replicate] == _MOST_LOST and place not in failed:
                    self._record_failure(epoch, number, place, cells[place])
                    failed.add(place)
        self._leave(sorted(failed))

    def _record(self, epoch: int, train_elbo: list[float], validation_elbo: list[float]) -> None:
        rate = learning_rate(self.config, (self.step - 1) / self.n_steps)
        self.result.history += [
            EpochRecord(replicate, epoch, train, validation, rate)
            for replicate, train, validation in zip(self.active, train_elbo, validation_elbo, strict=True)
        ]

    def _finished(self, epoch: int, validation_elbo: list[float]) -> list[int]:
        """Keep the weights of those that did better; the places in the stack of those that may stop."""
        finished = []
        for place, (replicate, elbo) in enumerate(zip(self.active, validation_elbo, strict=True)):
            is_finite = math.isfinite(elbo)  # a norm's running moments may be far off after few steps
            gain = elbo - self.best[replicate] if is_finite else -math.inf
            if gain > 0 or (is_finite and not self.config.restore_best):
                self.result.best_epoch[replicate] = epoch
                for name, value in self.stack.state(place).items():
                    self.kept[name][replicate] = value
                self.best[replicate] = max(elbo, self.best[replicate])
            self.waited[replicate] = 0 if gain > self.config.min_delta else self.waited[replicate] + 1
            is_hopeless = self.best[replicate] < self.floors.get(epoch + 1, -math.inf)
            if is_hopeless:
                self.result.pruned.add(replicate)
            if is_hopeless or (self.config.early_stopping and self.waited[replicate] >= self.config.patience):
                finished.append(place)
        return finished

    def _record_failure(self, epoch: int, step: int, place: int, cells: Tensor) -> None:
        """Record where a replicate's loss stopped being finite, and at which gene of its minibatch."""
        model = deepcopy(self.model)
        model.set_replicate_state({name: value[None] for name, value in self.stack.state(place).items()})
        gene = _first_bad_gene(model.eval(), self.data.batch(cells))
        self.result.failures.append(Failure(self.active[place], epoch, step, gene))

    def _leave(self, places: list[int]) -> None:
        """Take replicates, given by their places, out of the stack."""
        if not places:
            return
        staying = [place for place in range(len(self.active)) if place not in places]
        self.active = [self.active[place] for place in staying]
        self.stack.take(staying)


@torch.no_grad()
def _first_bad_gene(model: CountVAE, batch: Batch) -> int:
    """Find the first gene whose log likelihood is not finite, -1 if that is none or all of them."""
    posterior = model.encode(batch)
    library = batch.log_library.view(1, -1, 1) if posterior.library is None else posterior.library.mean
    log_prob = model.decode(posterior.z.mean, library, batch).distribution().log_prob(batch.dense())
    bad = ~torch.isfinite(log_prob[0]).all(0)
    return int(bad.nonzero()[0]) if bad.any() and not bad.all() else -1
