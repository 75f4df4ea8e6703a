"""One training loop: optimiser, schedule, early stopping, best weights, and losses that are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam
from tqdm.auto import tqdm

from .config import FitConfig, Likelihood
from .data import Batch, CountData
from .initialisation import initialise
from .layers import Streams
from .vae import CountVAE, Shape

_WARM_UP = 0.05  # share of the steps over which the learning rate rises


class EpochRecord(NamedTuple):
    """One replicate after one epoch; ELBOs in nats per cell."""

    replicate: int
    epoch: int
    train_elbo: float
    validation_elbo: float
    learning_rate: float


class Failure(NamedTuple):
    """A replicate whose loss was not finite; ``gene`` is the first gene concerned, -1 if it was no gene's."""

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
    """

    model: CountVAE
    best_epoch: list[int]
    history: list[EpochRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

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
    progress: bool = False,
) -> Training:
    """Train one replicate per seed, all in one program over one stream of minibatches.

    Parameters
    ----------
    likelihood
        ``"nb"`` or ``"zinb"``.
    data, shape, cells
        The counts, their dimensions and their split.
    config
        The architecture and the optimiser; ``max_epochs`` must be set.
    seeds
        One per replicate, for initial weights, latent noise and dropout masks.
    order_seed
        For the order of the cells.
    progress
        Show a bar over epochs.
    """
    model = CountVAE(likelihood, shape, config, len(seeds)).to(data.device)
    return _Loop(model, data, cells, seeds, order_seed).run(progress)


def learning_rate(config: FitConfig, progress: float) -> float:
    """Learning rate at a share ``progress`` of all steps."""
    if config.schedule == "constant":
        return config.learning_rate
    warm_up = min(1.0, progress / _WARM_UP)
    return config.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def mean_elbo(model: CountVAE, data: CountData, cells: Tensor, streams: Streams) -> Tensor:
    """Mean ELBO over cells, nats per cell, (R,), by one draw per cell; the model is in evaluation mode."""
    total = torch.zeros(model.n_replicates, dtype=torch.float64, device=data.device)
    for batch in data.batches(cells, model.config.batch_size):
        total += model.elbo(batch, streams).sum(1)
    return total / len(cells)


class _Loop:
    """The state of a training run; ``active`` are the replicates in the stack, by their original number."""

    def __init__(
        self, model: CountVAE, data: CountData, cells: Cells, seeds: Sequence[int], order_seed: int
    ) -> None:
        config = model.config
        if config.max_epochs is None:
            raise ValueError("config.max_epochs must be set to train; default_epochs gives a value.")
        n = len(seeds)
        self.streams = Streams(seeds, data.device)
        initialise(model, data, cells.train, cells.prior, self.streams)
        # the validation draws of a replicate are its own too, and the same in every epoch
        self.validation_seeds = [seed ^ 1 for seed in seeds]
        self.model, self.data, self.cells = model, data, cells
        self.config, self.n_epochs = config, config.max_epochs
        self.order = torch.Generator().manual_seed(order_seed)
        self.optimizers = [self._optimizer(place) for place in range(n)]
        self.n_steps = self.n_epochs * math.ceil(len(cells.train) / config.batch_size)
        self.step = 0
        self.active = list(range(n))
        self.kept = {name: value.clone() for name, value in model.replicate_state().items()}
        self.best = [-math.inf] * n
        self.waited = [0] * n
        self.result = Training(model, best_epoch=[-1] * n)

    def run(self, progress: bool) -> Training:
        name = self.model.likelihood.upper()
        with tqdm(total=self.n_epochs, desc=name, unit="epoch", disable=None if progress else True) as bar:
            for epoch in range(self.n_epochs):
                train_elbo = self._train_epoch(epoch)
                if not self.active:
                    break
                validation_elbo = self._validation_elbo()
                self._record(epoch, train_elbo, validation_elbo)
                # after the last step of an epoch only the validation cells can tell; -inf may recover
                failed = validation_elbo.isnan().nonzero().flatten().tolist()
                self._record_failures(epoch, failed)
                bar.update()
                bar.set_postfix(validation_elbo=f"{max(self.best):.2f}", refresh=False)
                self._leave([*failed, *self._finished(epoch, validation_elbo)])
                if not self.active:
                    break
        self.model.set_replicate_state(self.kept)
        self.model.eval()
        return self.result

    def _train_epoch(self, epoch: int) -> Tensor:
        """Pass once over the training cells; mean ELBO of each active replicate, (R,)."""
        self.model.train()
        total, n_seen = torch.zeros(len(self.active), dtype=torch.float64, device=self.data.device), 0
        for batch in self.data.shuffled(self.cells.train, self.config.batch_size, self.order):
            elbo = self.model.elbo(batch, self.streams).mean(1)
            finite = torch.isfinite(elbo)
            failed = [] if finite.all() else (~finite).nonzero().flatten().tolist()
            self._record_failures(epoch, failed, batch)
            self.model.zero_grad()
            (-elbo.sum()).backward()
            self._descend()
            self.step += 1
            total += elbo.detach() * len(batch)
            n_seen += len(batch)
            if failed:
                total = total[finite]
                self._leave(failed)
                if not self.active:
                    break
        return total / n_seen

    def _validation_elbo(self) -> Tensor:
        """Mean ELBO of each active replicate on the cells that decide when to stop, (R,).

        The latent draws are the same in every epoch, so that epochs differ by their weights only.
        """
        self.model.eval()
        streams = Streams([self.validation_seeds[r] for r in self.active], self.data.device)
        return mean_elbo(self.model, self.data, self.cells.stop, streams)

    def _record(self, epoch: int, train_elbo: Tensor, validation_elbo: Tensor) -> None:
        rate = learning_rate(self.config, (self.step - 1) / self.n_steps)
        self.result.history += [
            EpochRecord(replicate, epoch, train, validation, rate)
            for replicate, train, validation in zip(
                self.active, train_elbo.tolist(), validation_elbo.tolist(), strict=True
            )
        ]

    def _finished(self, epoch: int, validation_elbo: Tensor) -> list[int]:
        """Keep the weights of those that did better; the places in the stack of those that may stop."""
        finished = []
        state = self.model.replicate_state()
        for place, (replicate, elbo) in enumerate(zip(self.active, validation_elbo.tolist(), strict=True)):
            if math.isnan(elbo):
                continue
            gain = elbo - self.best[replicate]
            if gain > 0 or not self.config.restore_best:
                self.result.best_epoch[replicate] = epoch
                for name, value in state.items():
                    self.kept[name][replicate] = value[place]
            self.best[replicate] = max(elbo, self.best[replicate])
            self.waited[replicate] = 0 if gain > self.config.min_delta else self.waited[replicate] + 1
            if self.config.early_stopping and self.waited[replicate] >= self.config.patience:
                finished.append(place)
        return finished

    def _record_failures(self, epoch: int, places: list[int], batch: Batch | None = None) -> None:
        """Record where the loss stopped being finite, and at which gene of the minibatch."""
        if not places:  # as in every step that goes well: switching modes walks through all layers
            return
        training = self.model.training
        self.model.eval()  # looking must not move batch normalisation's running statistics
        for place in places:
            gene = -1 if batch is None else _first_bad_gene(self.model, batch, place)
            self.result.failures.append(Failure(self.active[place], epoch, self.step, gene))
        self.model.train(training)

    def _leave(self, places: list[int]) -> None:
        """Take replicates, given by their places, out of the stack."""
        if not places:
            return
        staying = [place for place in range(len(self.active)) if place not in places]
        self.active = [self.active[place] for place in staying]
        self.streams = self.streams.subset(staying)
        self.optimizers = [self.optimizers[place] for place in staying]
        self.model.take(staying)
        for place, optimizer in enumerate(self.optimizers):
            for own, parameter in self._pairs(optimizer):
                own.data = parameter.detach()[place]

    def _optimizer(self, place: int) -> Adam:
        """An optimiser of one replicate's parameters, which share their memory with the stack's.

        One for the whole stack would round a replicate's last entries by its place in it.
        """
        own = [nn.Parameter(parameter.detach()[place]) for parameter in self.model.parameters()]
        return Adam(own, eps=self.config.adam_eps, weight_decay=self.config.weight_decay, fused=True)

    def _pairs(self, optimizer: Adam) -> Iterable[tuple[nn.Parameter, nn.Parameter]]:
        """A replicate's own parameters beside those of the stack."""
        return zip(optimizer.param_groups[0]["params"], self.model.parameters(), strict=True)

    def _descend(self) -> None:
        """One step of every optimiser along the gradients of the stack."""
        rate = learning_rate(self.config, self.step / self.n_steps)
        for place, optimizer in enumerate(self.optimizers):
            for own, parameter in self._pairs(optimizer):
                assert parameter.grad is not None
                own.grad = parameter.grad[place]
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()


@torch.no_grad()
def _first_bad_gene(model: CountVAE, batch: Batch, place: int) -> int:
    """The first gene whose log likelihood is not finite, -1 if that is none or all of them."""
    posterior = model.encode(batch, Streams([0] * model.n_replicates, batch.counts.device))
    library = batch.log_library.view(1, -1, 1) if posterior.library is None else posterior.library.mean
    log_prob = model.decode(posterior.z.mean, library, batch).distribution().log_prob(batch.dense())
    bad = ~torch.isfinite(log_prob[place]).all(0)
    return int(bad.nonzero()[0]) if bad.any() and not bad.all() else -1
