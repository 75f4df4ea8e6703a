"""Generators of counts with known truth."""

from __future__ import annotations

from ._amplify import amplify
from ._bases import beta_poisson, gamma_poisson, poisson_lognormal
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
    "gamma_poisson",
    "knockout",
    "like",
    "mixed",
    "poisson_lognormal",
    "zisynth",
]
