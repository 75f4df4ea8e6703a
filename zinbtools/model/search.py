"""The search for good settings: hyperopt asks, `jobs` computes, hyperopt is told."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import chain, islice
from statistics import median
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import torch

from ..jobs import Checkpoints, Died, Workers
from ..jobs.progress import progress_bar
from .config import FitConfig, Likelihood, Proposal
from .data import CountData
from .marginal import marginal_log_likelihood
from .training import Cells, Training, train
from .vae import Shape

Settings = dict[str, Any]

N_STARTUP = 20  # trials that hyperopt draws at random before it models their losses
RUNGS = (0.25, 0.5)  # shares of the epochs after which a hopeless trial is stopped
_FIXED = ("library", "stop_on", "prior_cells", "restore_best")  # these say what is fitted, not how well
_TUNABLE = tuple(field.name for field in fields(FitConfig) if field.name not in _FIXED)


def default_space() -> Settings:
    """Return settings around the default: none that takes many times longer or is known to do harm."""
    from hyperopt import hp

    return {
        "n_latent": 5 + hp.randint("n_latent", 26),
        "n_hidden": hp.choice("n_hidden", [64, 128, 256]),
        "n_layers": hp.choice("n_layers", [1, 2]),
        "dropout_rate": hp.uniform("dropout_rate", 0.0, 0.5),
        "batch_size": hp.choice("batch_size", [64, 128, 256]),
        "learning_rate": hp.loguniform("learning_rate", math.log(1e-3), math.log(3e-2)),
    }


def study_space() -> Settings:
    """Return what the 2019 study tuned."""
    from hyperopt import hp

    return {
        "n_latent": 3 + hp.randint("n_latent", 28),
        "n_hidden": hp.choice("n_hidden", [32, 64, 128, 256]),
        "n_layers": 1 + hp.randint("n_layers", 5),
        "dropout_rate": hp.uniform("dropout_rate", 0.1, 0.9),
        "learning_rate": hp.choice("learning_rate", [1e-2, 1e-3, 1e-4]),
    }


SPACES: dict[str, Callable[[], Settings]] = {"default": default_space, "blog2019": study_space}


class Trial(NamedTuple):
    """One model to be trained with one setting.

    Attributes
    ----------
    number
        Of the trial, from 0; -1 is the default that the others are compared with.
    floors
        The validation ELBO (best so far) that the training must have reached at each of `RUNGS`.
    """

    number: int
    likelihood: Likelihood
    config: FitConfig
    floors: tuple[float, ...]

    @property
    def key(self) -> str:
        """Name what is computed; the number is there for people who look into the folder."""
        settings = repr((sorted(asdict(self.config).items()), self.floors))
        digest = hashlib.sha256(settings.encode()).hexdigest()[:32]
        return f"{'default' if self.number < 0 else f'trial{self.number:05d}'}-{self.likelihood}-{digest}"


class Outcome(NamedTuple):
    """What became of a trial, on validation cells.

    Attributes
    ----------
    status
        ``ok``, ``pruned`` or ``failed``.
    elbo
        The best, nats per cell; NaN if it failed.
    rungs
        Best ELBO so far at each of `RUNGS`; a training that stopped before has its last. None if it failed.
    n_epochs
        Epochs that were trained.
    log_likelihood
        Importance-sampled log likelihood of each cell, nats, (n_cells,); None unless ``ok``.
    standard_error
        Monte Carlo error of its mean.
    message
        Why it failed.
    """

    status: str
    elbo: float = math.nan
    rungs: list[float] | None = None
    n_epochs: int = 0
    log_likelihood: np.ndarray | None = None
    standard_error: float = math.nan
    message: str = ""

    @property
    def loss(self) -> float:
        """Minus the log likelihood, nats per cell. One that was pruned has its lower bound instead."""
        return -self.elbo if self.log_likelihood is None else -float(self.log_likelihood.mean())


class Told(NamedTuple):
    """A finished trial of a search: its settings, the outcome for each model, and what hyperopt was told."""

    number: int
    settings: Settings
    outcomes: dict[Likelihood, Outcome]

    @property
    def status(self) -> str:
        found = {outcome.status for outcome in self.outcomes.values()}
        return next(status for status in ("failed", "pruned", "ok") if status in found)

    @property
    def loss(self) -> float:
        """Mean over the models."""
        return sum(outcome.loss for outcome in self.outcomes.values()) / len(self.outcomes)


def evaluate(
    trial: Trial,
    *,
    data: CountData,
    shape: Shape,
    cells: Cells,
    seed: int,
    order_seed: int,
    draw_seed: int,
    n_samples: int,
    proposal: Proposal,
) -> Outcome:
    """Train a model and evaluate it on the cells that decide when to stop, ``cells.stop``."""
    rungs = _rungs(trial.config)
    floors = {rung: floor for rung, floor in zip(rungs, trial.floors, strict=False)}
    try:
        training = train(
            trial.likelihood,
            data,
            shape,
            cells,
            trial.config,
            seeds=[seed],
            order_seed=order_seed,
            floors=floors,
        )
        if training.failures:
            epoch, step = training.failures[0].epoch, training.failures[0].step
            return Outcome("failed", message=f"the loss was not finite at step {step} of epoch {epoch}.")
        done = _progress(training, rungs)
        if training.pruned:
            return Outcome("pruned", **done)
        likelihood = marginal_log_likelihood(
            training.model, data, cells.stop, n_samples=n_samples, seed=draw_seed, proposal=proposal
        )
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Outcome("failed", message=f"out of memory: {error}")
    values = likelihood.log_likelihood[0].numpy(force=True)
    if not np.isfinite(values).all():
        return Outcome("failed", message="the likelihood of a validation cell was not finite.")
    monte_carlo = float(likelihood.standard_error.square().sum().sqrt()) / len(values)
    return Outcome("ok", **done, log_likelihood=values, standard_error=monte_carlo)


def _rungs(config: FitConfig) -> list[int]:
    """After how many epochs a training may be stopped for being hopeless."""
    n_epochs = config.max_epochs or 0
    return [math.ceil(share * n_epochs) for share in RUNGS if math.ceil(share * n_epochs) < n_epochs]


def _progress(training: Training, rungs: Sequence[int]) -> dict[str, Any]:
    elbos = [record.validation_elbo for record in training.history]
    reached = [rung for rung in rungs if rung <= len(elbos) or not training.pruned]
    return {"elbo": max(elbos), "rungs": [max(elbos[:rung]) for rung in reached], "n_epochs": len(elbos)}


class Search:
    """hyperopt's TPE over one space, for one model or for several that share their settings.

    It asks and is told as `hyperopt.fmin` does: with the same seed, space and ``max_queue_len`` it tries the
    same settings, given the same losses. Trials are handed out in rounds, and hyperopt is told of a round
    when all of it is there, in the order in which it asked; so nothing depends on who was quicker. The first
    `N_STARTUP` trials are random, whatever their losses, and are one round.

    Parameters
    ----------
    space
        Of hyperopt, such as a dictionary; what is drawn from it, with dictionaries in it laid flat, must be
        fields of `FitConfig`.
    likelihoods
        The models; the loss is the mean of theirs.
    base
        Where the space leaves a field out.
    max_evals, seed, max_queue_len, prune
        Trials; seed of the search; trials in a round; whether hopeless trials are stopped.
    """

    def __init__(
        self,
        space: Any,
        likelihoods: Sequence[Likelihood],
        base: FitConfig,
        *,
        max_evals: int,
        seed: int,
        max_queue_len: int = 1,
        prune: bool = True,
    ) -> None:
        self.likelihoods, self.base, self.told = list(likelihoods), base, list[Told]()
        self.max_evals, self._space, self._queue, self._prune = max_evals, space, max_queue_len, prune
        from hyperopt import Trials, tpe  # which takes a second to import
        from hyperopt.base import Domain

        self._suggest = partial(tpe.suggest, n_startup_jobs=N_STARTUP, verbose=False)
        self._domain, self._trials = Domain(_nothing, space), Trials()
        self._rng = np.random.default_rng(seed)

    def ask(self) -> list[Settings]:
        """Return the settings of the next round; none when all is done."""
        n_before = len(self._trials.trials)
        while len(self._trials.trials) < self.max_evals:
            self._ask_some(min(self._queue, self.max_evals - len(self._trials.trials)))
            if len(self._trials.trials) >= N_STARTUP:
                break
        new = self._trials.trials[n_before:]
        return [self._settings(document) for document in new]

    def _ask_some(self, n: int) -> None:
        """Fill the queue as `hyperopt.fmin` does."""
        while n:
            ids = self._trials.new_trial_ids(n)
            self._trials.refresh()
            documents = self._suggest(ids, self._domain, self._trials, self._rng.integers(2**31 - 1))
            self._trials.insert_trial_docs(documents)
            self._trials.refresh()
            n -= len(documents)

    def _settings(self, document: Mapping[str, Any]) -> Settings:
        from hyperopt import space_eval

        values = {name: value[0] for name, value in document["misc"]["vals"].items() if value}
        return checked_settings(space_eval(self._space, values))

    def jobs(self, settings: Sequence[Settings]) -> list[Trial]:
        """List the trainings that a round needs, trial by trial."""
        n, floors = len(self.told), {name: self._floors(name) for name in self.likelihoods}
        return [
            Trial(n + i, name, replace(self.base, **values), floors[name])
            for i, values in enumerate(settings)
            for name in self.likelihoods
        ]

    def _floors(self, likelihood: Likelihood) -> tuple[float, ...]:
        """Median at each rung over the earlier trials that came as far."""
        if not self._prune:
            return ()
        rungs = [told.outcomes[likelihood].rungs or [] for told in self.told]
        reached = [[values[i] for values in rungs if i < len(values)] for i in range(len(RUNGS))]
        return tuple(median(values) for values in reached if values)

    def tell(self, settings: Sequence[Settings], outcomes: Sequence[Outcome]) -> None:
        """Take in a round: outcomes in the order of `jobs`."""
        from hyperopt import JOB_STATE_DONE

        n = len(self.likelihoods)
        for i, values in enumerate(settings):
            of_models = dict(zip(self.likelihoods, outcomes[n * i : n * (i + 1)], strict=True))
            document, told = self._trials.trials[len(self.told)], Told(len(self.told), values, of_models)
            document["state"] = JOB_STATE_DONE
            document["result"] = hyperopt_result(told.status, told.loss)
            self.told.append(told)
        self._trials.refresh()

    @property
    def best(self) -> Told | None:
        """The trial of least loss among those that went well; None if none did."""
        return min((told for told in self.told if told.status == "ok"), key=lambda t: t.loss, default=None)


def run_searches(
    searches: Sequence[Search],
    crew: Workers[Trial, Outcome],
    *,
    checkpoints: Checkpoints[Outcome] | None = None,
    progress: bool = False,
) -> dict[Likelihood, Outcome]:
    """Run searches to their end, side by side; what the default setting (their ``base``) gives each model.

    Parameters
    ----------
    searches
        Filled in place.
    crew
        Workers that `evaluate`. They may be any and any number, and change nothing.
    checkpoints
        Where outcomes are kept, and looked for first.
    progress
        Show a bar over trainings.
    """
    defaults = [Trial(-1, name, search.base, ()) for search in searches for name in search.likelihoods]
    of_defaults: list[Outcome] = []
    total = sum(len(search.likelihoods) * (search.max_evals + 1) for search in searches)
    with progress_bar(total, "tuning", "fit", shown=progress) as bar:
        while True:
            asked = [search.ask() for search in searches]
            jobs = [search.jobs(settings) for search, settings in zip(searches, asked, strict=True)]
            round_ = [*([] if of_defaults else defaults), *chain.from_iterable(jobs)]
            if not round_:
                return dict(zip((job.likelihood for job in defaults), of_defaults, strict=True))
            outcomes = iter(_run_round(round_, crew, checkpoints, bar))
            of_defaults = of_defaults or list(islice(outcomes, len(defaults)))
            for search, settings, part in zip(searches, asked, jobs, strict=True):
                search.tell(settings, list(islice(outcomes, len(part))))
            bar.set_postfix_str(_losses(searches), refresh=False)


def _losses(searches: Sequence[Search]) -> str:
    """Tell the least loss of each search that has one."""
    best = [search.best for search in searches]
    return ", ".join(f"NLL {told.loss:.2f}" for told in best if told)


def _run_round(
    trials: Sequence[Trial], crew: Workers[Trial, Outcome], checkpoints: Checkpoints[Outcome] | None, bar: Any
) -> list[Outcome]:
    """Outcomes of trials, in their order."""
    keys = None if checkpoints is None else [trial.key for trial in trials]
    outcomes: dict[int, Outcome] = {}
    for place, outcome in crew.run(trials, keys=keys, checkpoints=checkpoints, deaths="yield"):
        is_lost = isinstance(outcome, Died)
        outcomes[place] = Outcome("failed", message=outcome.message) if is_lost else outcome
        bar.update()
    return [outcomes[place] for place in range(len(trials))]


def outcome_checkpoints(folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> Checkpoints[Outcome]:
    """Open a folder that keeps outcomes."""
    return Checkpoints(folder, identity, pack=Outcome._asdict, unpack=lambda packed: Outcome(**packed))


def checked_settings(drawn: Any) -> Settings:
    """Turn what was drawn from a space into fields of `FitConfig`; dictionaries in it are laid flat.

    Examples
    --------
    >>> checked_settings({"n_hidden": 64.0, "optimiser": {"learning_rate": 0.01}})
    {'n_hidden': 64, 'learning_rate': 0.01}
    """
    if not isinstance(drawn, Mapping):
        raise TypeError(f"space must give a dictionary of settings, found {drawn!r}.")
    settings: Settings = {}
    for name, value in drawn.items():
        if isinstance(value, Mapping):
            settings |= checked_settings(value)
        elif name in _TUNABLE:
            settings[name] = _plain(name, value)
        else:
            raise ValueError(f"space must hold settings of the fit ({', '.join(_TUNABLE)}), found {name!r}.")
    return settings


def _plain(name: str, value: Any) -> Any:
    """Numbers of Python, and whole ones where hyperopt gives 64.0 for 64."""
    value = value.item() if isinstance(value, np.generic) else value
    is_count = get_type_hints(FitConfig)[name] in (int, int | None)
    return int(value) if is_count and isinstance(value, float) and value.is_integer() else value


def hyperopt_result(status: str, loss: float) -> dict[str, Any]:
    """Say how a trial went, in hyperopt's words."""
    return {"status": "fail"} if status == "failed" else {"status": "ok", "loss": loss}


def _nothing(_: object) -> None:
    """In place of an objective: hyperopt asks for one, and is told instead."""
