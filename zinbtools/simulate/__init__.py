"""Generators of counts with known truth."""

from __future__ import annotations

from ._amplify import amplify
from ._bases import beta_poisson, gamma_poisson, poisson_lognormal
from ._bursts import bursting, zero_causes
from ._inflation import Entries, Exponential, Inflation, Logistic, PerBatch, PerCell, PerGene, Uniform
from ._like import like
from ._mixed import knockout, mixed
from ._zisynth import zisynth

__all__ = [
    "Entries",
    "Exponential",
    "Inflation",
    "Logistic",
    "PerBatch",
    "PerCell",
    "PerGene",
    "Uniform",
    "amplify",
    "beta_poisson",
    "bursting",
    "gamma_poisson",
    "knockout",
    "like",
    "mixed",
    "poisson_lognormal",
    "zero_causes",
    "zisynth",
]
