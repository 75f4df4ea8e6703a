"""Values that an argument may not be; as a script, every function gets each of them for every parameter.

``python tests/arguments.py`` calls for real, with the training taken out, and tells how the calls ended:
``clear`` is one sentence that names the argument, ``taken`` a call that went well (a value that is legal),
``trained`` one that got as far as the training, ``long`` one of over ten seconds; others are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import io
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import zinbtools as zt
from zinbtools._check import arguments as _check

ROOMS = ("tl", "get", "pl", "simulate", "datasets")
Function = Callable[..., Any]

HOSTILE: dict[str, Any] = {
    "None": None,
    "True": True,
    "False": False,
    "0": 0,
    "-1": -1,
    "1.5": 1.5,
    "-0.5": -0.5,
    "2.0": 2.0,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "-infinity": float("-inf"),
    "10^20": 10**20,
    "2^70": 2**70,
    "float32": np.float32(0.3),
    "int8": np.int8(-3),
    "complex": 1j,
    "Decimal": Decimal("0.5"),
    "nothing": "",
    "word": "no such thing",
    "False as a word": "False",
    "slash": "a/b",
    "NUL": "\x00",
    "bytes": b"nb",
    "empty list": [],
    "list": [3, "x"],
    "words": ["no such thing"],
    "nested list": [["nb"], ["zinb"]],
    "twice": ["nb", "nb"],
    "tuple": ("a", "b"),
    "set": {1, 2},
    "empty mapping": {},
    "mapping": {"a": object()},
    "array": np.array([0.5, np.nan]),
    "scalar array": np.array(3),
    "square": np.ones((3, 3)),
    "array of words": np.array(["u", "v"]),
    "booleans": np.zeros(3, dtype=bool),
    "Series": pd.Series([1.0, 2.0]),
    "DataFrame": pd.DataFrame({"a": [1, 2]}),
    "sparse": sparse.eye_array(3),
    "path": Path("no such thing"),
    "function": len,
    "class": int,
    "object": object(),
    "generator": (i for i in range(3)),
    "range": range(3),
}


def functions() -> dict[str, Function]:
    """All public functions, by room and name."""
    rooms = {room: getattr(zt, room) for room in ROOMS}
    return {
        f"{room}.{name}": value
        for room, module in rooms.items()
        for name in sorted(module.__all__)
        if inspect.isfunction(value := getattr(module, name))
    }


STUDIES = pd.DataFrame({"effect": [0.1, 0.2, 0.4], "se": 0.1}, index=["a", "b", "c"])


@functools.cache
def family() -> zt.get.MetaAnalysis:
    return zt.tl.meta(STUDIES)


def needed(fitted: AnnData, name: str) -> dict[str, Any]:
    """Arguments that a function cannot do without, all of them good."""
    every = {
        "adata": fitted,
        "model": "nb" if name == "get.model" else object(),
        "gene": fitted.var_names[0],
        "inflation": zt.simulate.Uniform(0.1),
        "name": "cortex",
        "path": "nowhere",
        "which": 1,
        "table": STUDIES,
        "pval": STUDIES[["se"]],
        "found": family(),
    }
    parameters = inspect.signature(functions()[name]).parameters.values()
    return {p.name: every[p.name] for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD}


def is_clear(error: BaseException, *names: str) -> bool:
    """One sentence on one line with one of the names."""
    text = str(error.args[0]) if error.args else ""
    kinds = (ValueError, TypeError, KeyError, OSError)
    is_sentence = text.endswith(".") and "\n" not in text
    return isinstance(error, kinds) and is_sentence and any(name in text for name in names)


class Trained(RuntimeError):
    """The training was reached."""


def _train(*_: object, **__: object) -> None:
    raise Trained


def _stop(*_: object) -> None:
    raise TimeoutError("a long call")


@contextlib.contextmanager
def _without_training() -> Iterator[None]:
    from zinbtools.tl import _trained, _tune

    with (
        mock.patch.object(_trained, "train_restarts", _train),
        mock.patch.object(_tune, "evaluate", _train),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def ending(fitted: AnnData, name: str, parameter: str, value: Any) -> tuple[str, str]:
    """How a call ends, and the error that it raised, if it did."""
    arguments = {**needed(fitted, name), parameter: value}
    signal.alarm(10)
    try:
        with _without_training():
            functions()[name](**arguments)
    except Trained:
        return "trained", ""
    except TimeoutError:
        return "long", ""
    except Exception as error:
        line = " ".join(traceback.format_exception_only(error)[-1].split())
        # what is legal but not there is named itself, or the verb that makes it
        return ("clear" if is_clear(error, parameter, f"{value!r}", "; run z") else "unclear"), line
    finally:
        signal.alarm(0)
    return "taken", ""


def survey(only: str) -> None:
    """Every value for every parameter of every function whose name has ``only`` in it."""
    signal.signal(signal.SIGALRM, _stop)
    original = zt.simulate.zisynth(n_obs=200)
    with contextlib.redirect_stderr(io.StringIO()):
        zt.tl.model_selection(
            original, n_restarts=1, folds=1, max_epochs=2, n_samples=5, n_null=3, progress=False
        )
        zt.tl.zi_scores(original)
        zt.tl.zero_test(original)
    counted: Counter[str] = Counter()
    for name, function in functions().items():
        for parameter, rule in _check.rules_of(function).items():
            if only not in name or (name == "tl.import_scvi" and parameter != "model"):
                continue  # no model of scvi-tools is here to import
            for label, value in HOSTILE.items():
                end, line = ending(original.copy(), name, parameter, value)
                counted[f"{end}, {'legal' if rule.accepts(value) else 'not legal'}"] += 1
                if end == "unclear" or (end != "clear" and not rule.accepts(value)):
                    print(f"{end}: {name}({parameter}={label}): {line[:300]}", flush=True)
    print(dict(counted), f"calls: {counted.total()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="a part of the functions' names")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        survey(parser.parse_args().only)
