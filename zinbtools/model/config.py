"""How a model is built and trained, in one frozen record, and the protocols, which are presets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args, get_origin, get_type_hints

#: The two models by their names.
Likelihood = Literal["nb", "zinb"]
Proposal = Literal["laplace", "posterior"]
ProtocolName = Literal["default", "blog2019"]

# Batch normalisation cannot train on a single cell.
_LEAST = {"n_latent": 1, "n_hidden": 1, "n_layers": 1, "batch_size": 2, "max_epochs": 1, "patience": 1}


def default_epochs(n_cells: int) -> int:
    """Passes over ``n_cells`` training cells after which more would hardly help: 80, fewer with more cells.

    Small sets overfit before they have had many steps, large ones get enough steps in fewer passes.

    Examples
    --------
    >>> default_epochs(800), default_epochs(3400), default_epochs(16_000), default_epochs(10**6)
    (80, 41, 24, 8)
    """
    return max(8, min(80, round(max(18_300 / n_cells**0.75, 600 / n_cells ** (1 / 3)))))


def default_batch_size(n_cells: int) -> int:
    """Cells per minibatch: an eighth of ``n_cells`` training cells, 32 to 128.

    With fewer steps an NB can be further from its end than a ZINB, which then seems to predict better;
    in still smaller minibatches a ZINB overfits before an NB does.

    Examples
    --------
    >>> default_batch_size(80), default_batch_size(800), default_batch_size(5000)
    (32, 100, 128)
    """
    return max(32, min(128, n_cells // 8))


@dataclass(frozen=True)
class FitConfig:
    """Settings by which a model is built and trained.

    Attributes
    ----------
    n_latent, n_hidden, n_layers
        Dimensions of z, units per hidden layer, hidden layers.
    dropout_rate
        Share of hidden units silenced in the encoders while training.
    norm_momentum
        Weight of a minibatch in batch normalisation's running statistics.
    dispersion
        One inverse dispersion per ``gene``, per gene and batch, or per gene and cell. ``none``: so large that
        the counts are Poisson.
    library
        ``latent``: inferred, with an empirical prior per batch. ``observed``: the total count.
        ``size_factor``: a given number per cell, with means that need not sum to it.
    batch_size
        Cells per minibatch.
    max_epochs
        Passes over the training cells.
    learning_rate
        Peak learning rate of Adam.
    schedule
        ``cosine``: warm-up over the first twentieth of the steps, then a cosine to zero. ``constant``.
    adam_eps, weight_decay
        Adam's epsilon and coupled L2 penalty.
    initialisation
        ``moments``: output biases and dispersions at the data's moments. ``random``: the study's.
    early_stopping, patience, min_delta
        Stop after ``patience`` epochs without a gain of more than ``min_delta`` nats per cell in ELBO.
    restore_best
        Keep the weights of the best epoch rather than of the last one.
    stop_on
        The cells whose ELBO decides: ``validation``, or ``test`` as the study did.
    prior_cells
        The cells whose library sizes make the prior: ``train``, or ``all`` as the study did.

    Raises
    ------
    ValueError
        If a number is out of range or a word is not one of those above.
    """

    n_latent: int = 10
    n_hidden: int = 128
    n_layers: int = 1
    dropout_rate: float = 0.1
    norm_momentum: float = 0.1
    dispersion: Literal["gene", "gene-batch", "gene-cell", "none"] = "gene"
    library: Literal["latent", "observed", "size_factor"] = "latent"
    batch_size: int = 128
    max_epochs: int | None = None
    learning_rate: float = 1.6e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    adam_eps: float = 1e-8
    weight_decay: float = 0.0
    initialisation: Literal["moments", "random"] = "moments"
    early_stopping: bool = True
    patience: int = 75
    min_delta: float = 0.0
    restore_best: bool = True
    stop_on: Literal["validation", "test"] = "validation"
    prior_cells: Literal["train", "all"] = "train"

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if name == "max_epochs" and value is None:
                continue
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, found {value!r}.")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate must be from 0 to below 1, found {self.dropout_rate!r}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive and finite, found {self.learning_rate!r}.")
        for name, hint in get_type_hints(type(self)).items():
            words = get_args(hint)
            if get_origin(hint) is Literal and getattr(self, name) not in words:
                known = ", ".join(map(repr, words))
                raise ValueError(f"{name} must be one of {known}, found {getattr(self, name)!r}.")


@dataclass(frozen=True)
class Protocol:
    """What a fit and the comparison after it do where nothing else is asked.

    Attributes
    ----------
    config
        How models are built and trained.
    shares
        Of training, validation and test cells.
    proposal
        What marginal likelihoods are sampled from: around the mode of each cell's posterior, or the encoder's
        answer.
    checked_cells
        The cells that predictive checks look at.
    """

    config: FitConfig
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    proposal: Proposal = "laplace"
    checked_cells: Literal["train", "test"] = "test"


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "default": Protocol(FitConfig()),
    "blog2019": Protocol(
        FitConfig(
            max_epochs=150,
            learning_rate=1e-3,
            schedule="constant",
            norm_momentum=0.01,
            adam_eps=0.01,
            weight_decay=1e-6,
            initialisation="random",
            patience=15,
            min_delta=3.0,
            restore_best=False,
            stop_on="test",
            prior_cells="all",
        ),
        shares=(0.8, 0.0, 0.2),
        proposal="posterior",
        checked_cells="train",
    ),
}
