"""Rules of loss: small frozen records that say how probable it is that a count is lost.

A rule is asked about counts that are there, entry by entry; a zero has nothing to lose. Whoever needs
another rule writes an :class:`Inflation` of their own, with the one method ``probability``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from .._anndata.reading import checked_column
from .._check.arguments import check, rule

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Entries:
    """Counts above zero, and whose they are.

    Parameters
    ----------
    count
        The counts, shape (n_entries,).
    cell, gene
        Their rows and columns, shape (n_entries,).
    gene_mean
        Mean count of every gene over all cells, shape (n_vars,).
    obs, var
        Annotations of the cells and the genes.
    """

    count: Floats
    cell: NDArray[np.integer[Any]]
    gene: NDArray[np.integer[Any]]
    gene_mean: Floats
    obs: pd.DataFrame
    var: pd.DataFrame


class Inflation:
    """Rule by which counts are lost; what all rules inherit from."""

    def probability(self, entries: Entries) -> Floats:
        """Compute the probability that each entry is lost, shape (n_entries,).

        Parameters
        ----------
        entries
            Counts above zero.

        Returns
        -------
        Probabilities from 0 to 1.
        """
        raise NotImplementedError(f"{type(self).__name__} must define probability(entries).")

    def record(self) -> dict[str, Any]:
        """Return name and settings, as ``uns`` can hold them."""
        settings = {name: getattr(self, name) for name in getattr(self, "__dataclass_fields__", ())}
        stored = {name: x if np.isscalar(x) else np.asarray(x) for name, x in settings.items()}
        return {"rule": type(self).__name__, **stored}


@dataclass(frozen=True)
class Uniform(Inflation):
    """Lose any count alike, with probability ``p``.

    Parameters
    ----------
    p
        Probability from 0 to 1.

    Examples
    --------
    >>> Uniform(0.1)
    Uniform(p=0.1)
    """

    p: float

    def __post_init__(self) -> None:
        check_numbers(self, "p")

    def probability(self, entries: Entries) -> Floats:
        return np.full(entries.count.shape, float(self.p))


@dataclass(frozen=True)
class Exponential(Inflation):
    """Lose small counts, as the 2019 study did: with probability p exp(-lam x^2), x being the count.

    Parameters
    ----------
    p
        Probability in the limit of small counts, from 0 to 1.
    lam
        Decay with the squared count, 0 or more; 0 is :class:`Uniform`.

    Examples
    --------
    >>> Exponential(lam=0.01)
    Exponential(p=0.08, lam=0.01)
    """

    p: float = 0.08
    lam: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self, "p", "lam")

    def probability(self, entries: Entries) -> Floats:
        return self.p * np.exp(-self.lam * np.square(entries.count, dtype=np.float64))


@dataclass(frozen=True)
class Logistic(Inflation):
    r"""Lose counts of weak genes: with probability p / (1 + (mean / midpoint)^slope), logistic in log mean.

    Parameters
    ----------
    p
        Probability for a gene without expression, from 0 to 1.
    midpoint
        Mean count of a gene that loses p / 2 of its counts.
    slope
        How fast the probability falls with the logarithm of the mean; above 0.

    Examples
    --------
    >>> Logistic(p=0.4, midpoint=0.5)
    Logistic(p=0.4, midpoint=0.5, slope=1.0)
    """

    p: float = 0.5
    midpoint: float = 1.0
    slope: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self, "p", "midpoint", "slope")

    def probability(self, entries: Entries) -> Floats:
        return (self.p / (1 + (entries.gene_mean / self.midpoint) ** self.slope))[entries.gene]


@dataclass(frozen=True, eq=False)
class PerGene(Inflation):
    """Lose counts of each gene with a probability of its own.

    Parameters
    ----------
    p
        Probabilities of shape (n_vars,), or the name of a column of ``var``.

    Examples
    --------
    >>> PerGene("loss")
    PerGene(p='loss')
    """

    p: ArrayLike | str

    def probability(self, entries: Entries) -> Floats:
        return _probabilities(self.p, entries.var, "var")[entries.gene]


@dataclass(frozen=True, eq=False)
class PerCell(Inflation):
    """Lose counts of each cell with a probability of its own: cells of low quality lose more.

    Parameters
    ----------
    p
        Probabilities of shape (n_obs,), or the name of a column of ``obs``.

    Examples
    --------
    >>> PerCell("loss")
    PerCell(p='loss')
    """

    p: ArrayLike | str

    def probability(self, entries: Entries) -> Floats:
        return _probabilities(self.p, entries.obs, "obs")[entries.cell]


@dataclass(frozen=True, eq=False)
class PerBatch(Inflation):
    """Lose counts by a rule of each batch.

    Parameters
    ----------
    key
        Column of ``obs`` with the batches (or cell types, for an inflation by type).
    p
        A probability or a rule for each batch; batches that it leaves out lose nothing.

    Examples
    --------
    >>> PerBatch("batch", {"b": 0.2, "c": Exponential(0.3, lam=0.1)})
    PerBatch(key='batch', p={'b': 0.2, 'c': Exponential(p=0.3, lam=0.1)})
    """

    key: str
    p: Mapping[str, float | Inflation]

    def probability(self, entries: Entries) -> Floats:
        batches = checked_column(entries.obs, self.key, "key", "obs").astype(str).to_numpy()
        if unknown := sorted(set(self.p) - set(batches)):
            raise ValueError(
                f"p names {', '.join(map(repr, unknown))}, which obs[{self.key!r}] does not hold; "
                f"it holds {', '.join(map(repr, np.unique(batches)[:10].tolist()))}."
            )
        # Every rule sees all entries, so that what it depends on is the same whatever the other batches.
        probability = np.zeros(entries.count.shape)
        for batch, p in self.p.items():
            of_it = p if isinstance(p, Inflation) else Uniform(p)
            of_batch = (batches == batch)[entries.cell]
            probability[of_batch] = of_it.probability(entries)[of_batch]
        return probability

    def record(self) -> dict[str, Any]:
        rules = {
            batch.replace("/", "|"): rule.record() if isinstance(rule, Inflation) else float(rule)
            for batch, rule in self.p.items()
        }
        return {"rule": "PerBatch", "key": self.key, "p": rules}


def check_numbers(of: Inflation, *names: str) -> None:
    """Refuse numbers of a rule that are out of range."""
    for name in names:
        check(name, getattr(of, name), rule(float, name))


def _probabilities(p: ArrayLike | str, frame: pd.DataFrame, where: str) -> Floats:
    """Read an array, or a column of numbers by its name, and check it against its frame."""
    values = np.asarray(checked_column(frame, p, "p", where) if isinstance(p, str) else p, dtype=np.float64)
    if values.shape != (len(frame),):
        raise ValueError(
            f"p must have one probability per row of {where}, {len(frame)}, found {values.shape}."
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p must hold probabilities from 0 to 1, found {values.min()} to {values.max()}.")
    return values
