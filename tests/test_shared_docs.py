"""Docstrings that the decorator `checked` completes by what many of them share."""

from __future__ import annotations

import inspect
from importlib import import_module
from itertools import pairwise
from types import FunctionType

import pytest

from zinbtools._check.arguments import checked
from zinbtools._check.shared_docs import PARAMETERS, SECTIONS, completed

ROOMS = ("tl", "pl", "get", "simulate", "datasets", "study")
ORDER = ["Parameters", "Returns", "Warns", "Raises", "Notes", "References", "Examples"]


def public() -> dict[str, FunctionType]:
    """Every public function that is checked, by room and name."""
    rooms = {room: import_module(f"zinbtools.{room}") for room in ROOMS}
    found = {
        f"{room}.{name}": getattr(module, name) for room, module in rooms.items() for name in module.__all__
    }
    return {name: f for name, f in found.items() if isinstance(f, FunctionType) and hasattr(f, "__wrapped__")}


def sections(function: FunctionType) -> dict[str, list[str]]:
    """The lines of each section of a docstring, by title; those before the first under no title."""
    found: dict[str, list[str]] = {"": []}
    lines = inspect.cleandoc(function.__doc__ or "").splitlines()
    for line, rule in pairwise([*lines, ""]):
        if len(rule) > 2 and set(rule) == {"-"}:
            assert line not in found, "a section stands twice"
            assert len(line) == len(rule)
            found[line] = []
        elif not (len(line) > 2 and set(line) == {"-"}):
            found[list(found)[-1]].append(line)
    return found


def described(lines: list[str]) -> list[str]:
    """The names that unindented lines of a section list."""
    listed = (line for line in lines if line and not line.startswith(" "))
    return [name.strip(" *") for line in listed for name in line.split(",")]


@pytest.mark.parametrize("name", public())
def test_the_parameters_are_those_of_the_signature_in_its_order(name: str) -> None:
    function = public()[name]
    told = sections(function)
    found = described(told.get("Parameters", []))
    expected = list(inspect.signature(function).parameters)
    assert sorted(found) == sorted(expected)
    # Those that one paragraph describes stand where the first of them does.
    firsts = [
        described([line])[0] for line in told.get("Parameters", []) if line and not line.startswith(" ")
    ]
    assert firsts == sorted(firsts, key=expected.index)
    titles = list(told)[1:]
    assert titles == sorted(titles, key=ORDER.index)


@pytest.mark.parametrize("name", public())
def test_nothing_of_the_own_docstring_is_lost(name: str) -> None:
    function = public()[name]
    own, merged = sections(inspect.unwrap(function)), sections(function)
    for title, lines in own.items():
        assert [line for line in lines if line and line not in merged[title]] == []
        if title != "Parameters":
            assert [line for line in merged[title] if line] == [line for line in lines if line]
    assert set(described(own.get("Parameters", []))) <= set(inspect.signature(function).parameters)


def plot(adata: object, *, own: int, show: bool, ax: object, **rest: object) -> None:
    """Draw.

    With care.

    Parameters
    ----------
    own, ax
        Two at once,

        in two paragraphs.
    **rest
        What is left.

    Examples
    --------
    >>> plot  # doctest: +SKIP
    """


def test_own_text_wins_and_the_room_fills_the_rest() -> None:
    plot.__module__ = "zinbtools.pl._plot"
    doc = completed(plot) or ""
    assert doc.startswith("Draw.\n\nWith care.\n\nParameters\n----------\nadata\n    Object on which")
    assert "own, ax\n    Two at once,\n\n    in two paragraphs.\nshow\n    Show the figure." in doc
    assert doc.count("ax\n") == 1
    assert PARAMETERS["ax"] not in doc
    assert doc.endswith(
        "**rest\n    What is left.\n\nReturns\n-------\n"
        + "\n\n".join(
            [
                SECTIONS["pl"]["Returns"],
                "Raises\n------\n" + SECTIONS["pl"]["Raises"],
                "Examples\n--------\n>>> plot  # doctest: +SKIP",
            ]
        )
    )


def test_a_room_may_have_words_of_its_own() -> None:
    def like(adata: object) -> None:
        """Simulate."""

    like.__module__ = "zinbtools.simulate._like"
    assert (checked(like).__doc__ or "").startswith(
        f"Simulate.\n\nParameters\n----------\nadata\n    {PARAMETERS['simulate.adata']}\n\nRaises"
    )


def test_nothing_is_told_to_nobody() -> None:
    """A paragraph that no public function takes is dead."""
    docs = {name: " ".join((f.__doc__ or "").split()) for name, f in public().items()}
    unused = [name for name, text in PARAMETERS.items() if not any(text in doc for doc in docs.values())]
    assert unused == []
