"""What models and families of counts are called where people read of them."""

from __future__ import annotations

from typing import Literal

MODELS: tuple[Literal["nb"], Literal["zinb"]] = ("nb", "zinb")
_NAMES = {
    "nb": "NB",
    "zinb": "ZINB",
    "zip": "ZIP",
    "poisson": "Poisson",
    "beta-poisson": "Beta-Poisson",
    "nb-gene-cell": "NB, dispersion per cell",
    "nb-amplified": "NB of molecules that were copied",
}


def model_name(model: object) -> str:
    """Write a model or family as people do; one that is not known by its own name.

    Examples
    --------
    >>> model_name("zinb"), model_name("poisson"), model_name("my model")
    ('ZINB', 'Poisson', 'my model')
    """
    return _NAMES.get(str(model), str(model))
