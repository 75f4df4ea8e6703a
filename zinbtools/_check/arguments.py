"""Check arguments against the signature before any work is done.

A parameter's annotation says its kind, and the words that it may be (``Literal``); the tables below say how
large a number of its name may be. So each is told once, the same name is checked alike in every room, and the
command line reads its options by the same rules.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np
from numpy.typing import ArrayLike

from . import rules
from .rules import Number, Rule
from .shared_docs import completed

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# By a parameter's name, or by those of a function and its parameter where that one differs.
# Whole numbers are at least 1, but:
LEAST = {
    "rng": 0,
    "restart": 0,
    "n_bootstrap": 0,
    "n_labels": 0,
    "cells": 100,
    "ppc.n_null": 0,
    "model_selection.n_null": 2,
    "reproduce.max_evals": 0,
    "like.n_factors": 0,
}
# Other numbers are finite, and:
_SHARE, _BETWEEN, _BELOW_1 = Number(0, 1, ()), Number(0, 1, (0, 1)), Number(0, 1, (1,))
_NOT_NEGATIVE, _POSITIVE = Number(0), Number(0, excluded=(0, math.inf))
RANGES = {
    "alpha": _BETWEEN,
    "negligible_dropout": _BELOW_1,
    "smallest_dropout": _BETWEEN,
    "dropout_rate": _BELOW_1,
    "min_detection": _BELOW_1,
    "test_share": _BETWEEN,
    "learning_rate": _POSITIVE,
    "rope": _NOT_NEGATIVE,
    "power": _BETWEEN,
    "dropout": _BELOW_1,
    "depth": _POSITIVE,
    "layer_memory": Number(0, excluded=()),
    "lam": _NOT_NEGATIVE,
    "midpoint": _POSITIVE,
    "slope": _POSITIVE,
    "copies": Number(1, excluded=(1, math.inf)),
    "shape": _POSITIVE,
    "capture": Number(0, 1, (0,)),
    **dict.fromkeys(("p", "share", "kept", "bimodal_share", "factor_share"), _SHARE),
    **dict.fromkeys(("type_sd", "library_sd", "batch_sd", "cell_sd", "gene_sd"), _NOT_NEGATIVE),
    **dict.fromkeys(("frequency_sd", "dispersion_sd"), _NOT_NEGATIVE),
}
# Lists are not empty, but:
MAY_BE_EMPTY = {"layers", "categorical_covariate_keys", "continuous_covariate_keys"}

_WORDS = {
    "PathLike": "a path",
    "Executor": "a concurrent.futures.Executor",
    "DaskClient": "a dask.distributed.Client",
    "Generator": "a numpy Generator",
    "RandomState": "a numpy RandomState",
    "SeedSequence": "a numpy SeedSequence",
    "Inflation": "a rule such as Uniform(0.1)",
}
_SEEDS = {"random_state", "seed"}  # as others call ``rng``
_ARRAYS = set(get_args(ArrayLike))  # of which a union with None has every part by itself
_LONGEST = 80  # characters of a value that an error shows


class ArgumentError(ValueError, TypeError):
    """An argument that cannot be used, caught as a ValueError and as a TypeError."""


def rule(annotation: Any, name: str, function: str = "") -> Rule:
    """Return the rule for a parameter of this annotation and name.

    Examples
    --------
    >>> rule(int | None, "max_epochs").accepts(0), str(rule(float, "dropout_rate"))
    (False, 'a number from 0 to below 1')
    """
    kind, inner = get_origin(annotation), get_args(annotation)
    if annotation == ArrayLike:
        return rules.Numbers()
    if kind in (Union, UnionType):
        return _union(inner, name, function)
    if kind is Literal:
        return rules.Choice(inner)
    if kind is Mapping:
        return rules.Pairs(rule(inner[1], name, function))
    if kind in (Sequence, Collection):
        several = rules.Several(rule(inner[0], name, function), int(name not in MAY_BE_EMPTY))
        return rules.Shares() if name == "split" else several
    if annotation in (int, np.integer):
        least = LEAST.get(f"{function}.{name}", LEAST.get(name, 1))
        return rules.Whole(least, math.inf if name == "rng" else 2**31)
    simple: dict[Any, Rule] = {
        Any: rules.Anything(),
        NoneType: rules.Nothing(),
        bool: rules.Flag(),
        str: rules.Device() if name == "device" else rules.Word(),
        float: RANGES.get(name, Number()),
        np.ndarray: rules.Array(),
    }
    if annotation in simple:
        return simple[annotation]
    cls = kind or annotation
    return rules.Instance(cls, _WORDS.get(cls.__name__, _with_article(cls.__name__)))


def _union(parts: Sequence[Any], name: str, function: str) -> Rule:
    """Accept what any part accepts; None is named last."""
    if _ARRAYS and set(parts) >= _ARRAYS:
        parts = [ArrayLike, *(part for part in parts if part not in _ARRAYS)]
    each = dict.fromkeys(rule(part, name, function) for part in parts)
    return rules.Either(tuple(sorted(each, key=lambda r: isinstance(r, rules.Nothing))))


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'AEIOUaeiou' else 'a'} {word}"


def check(name: str, value: Any, of: Rule) -> None:
    """Raise an ArgumentError of one sentence for a value that the rule does not accept."""
    if of.accepts(value):
        return
    if "an AnnData" in str(of):
        raise ArgumentError(f"{name} must be {of}, found {type(value).__name__}{_way(value)}.")
    raise ArgumentError(f"{name} must be {of}, found {shown(value)}.")


def shown(value: Any) -> str:
    """Write a value for an error: on one line, and not longer than a line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a stranger's `__repr__` may raise anything
        text = ""
    return text if 0 < len(text) <= _LONGEST else _with_article(type(value).__name__)


def _way(value: Any) -> str:
    """Say how an AnnData is made of what was given, where that is known."""
    if isinstance(value, str | os.PathLike):
        return "; read the file first, as anndata.read_h5ad does"
    if isinstance(getattr(value, "mod", None), Mapping):  # a MuData
        return "; give one of its modalities, such as mdata['rna']"
    shape = getattr(value, "shape", None)
    return "; make one of it: anndata.AnnData(counts)" if isinstance(shape, tuple) and len(shape) == 2 else ""


@cache
def _known(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Rule]]:
    """Return a function's signature, and the rule of each parameter."""
    import anndata
    import pandas as pd

    of_types_only = {"AnnData": anndata.AnnData, "pd": pd}  # what rooms import for their annotations alone
    signature = inspect.signature(function, locals=of_types_only, eval_str=True)
    parameters = signature.parameters.values()
    return signature, {p.name: rule(p.annotation, p.name, function.__name__) for p in parameters}


def rules_of(function: Callable[..., Any]) -> dict[str, Rule]:
    """Return the rule of each parameter of a public function, by name."""
    return _known(inspect.unwrap(function))[1]


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Check arguments of a public function that are given by name.

    Raises
    ------
    ArgumentError
        For a name that the function does not have, and for a value that it cannot use.
    """
    _refuse_unknown(function, arguments)
    for name, value in arguments.items():
        check(name, value, rules_of(function)[name])


def _refuse_unknown(function: Callable[..., Any], names: Collection[str]) -> None:
    parameters = _known(inspect.unwrap(function))[0].parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in names:
        if name not in parameters:
            likely = ["rng"] if name in _SEEDS and "rng" in parameters else []
            near = likely or difflib.get_close_matches(name, parameters, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ArgumentError(f"{function.__name__} has no argument {name!r}{hint}")


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a public function: check its arguments before it begins, and complete its docstring.

    The parameters that the docstring does not describe are described in `shared_docs`. What it takes as
    ``**settings`` is left to it and `check_arguments`.

    Examples
    --------
    >>> @checked
    ... def half(share: float) -> float:
    ...     return share / 2
    >>> half(2)
    Traceback (most recent call last):
    zinbtools._check.arguments.ArgumentError: share must be a number from 0 to 1, found 2.
    """

    @wraps(function)
    def with_checks(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        _refuse_unknown(function, kwargs)
        signature, known = _known(inspect.unwrap(function))
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:  # too many, or too few
            raise ArgumentError(f"{function.__name__} cannot be called so: {error}.") from None
        for name, value in given.items():
            check(name, value, known[name])
        return function(*args, **kwargs)

    with_checks.__doc__ = completed(function)
    return with_checks
