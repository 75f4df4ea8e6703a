"""The documentation: what it names is there, and what a user meets is in it."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import import_module
from inspect import get_annotations
from pathlib import Path

import pytest

import zinbtools

PACKAGE = Path(zinbtools.__file__).parent
HOME = Path(__file__).parents[1]
NAME = re.compile(r"\b(?:zt|zinbtools)(\.[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)")
FOR_USERS = sorted({*zinbtools.__all__, "study"})


def named(path: str) -> object:
    """What a dotted path below the package stands for; AttributeError if nothing."""
    found, where = zinbtools, "zinbtools"
    for part in path.strip(".").split("."):
        where += f".{part}"
        if not hasattr(found, part):
            try:
                import_module(where)
            except ModuleNotFoundError:
                raise AttributeError(where) from None
        found = getattr(found, part)
    return found


def listed() -> list[str]:
    """The names on the page of the API, such as ``tl.ppc``."""
    return re.findall(r"^   (\w+(?:\.\w+)+)$", (HOME / "docs/api/index.md").read_text("utf-8"), re.MULTILINE)


@cache
def documented() -> list[object]:
    return [named(name) for name in listed()]


def is_there(path: str) -> bool:
    try:
        named(path)
    except AttributeError:
        return False
    return True


def test_what_is_named_is_there() -> None:
    """In pages, docstrings and messages alike: a name of ours that stands for nothing is an old one."""
    pages = [
        HOME / "README.md",
        *(HOME / "docs").rglob("*.md"),
        *PACKAGE.rglob("*.py"),
        *PACKAGE.rglob("*.j2"),
    ]
    found = {(page.name, path) for page in pages for path in NAME.findall(page.read_text("utf-8"))}
    assert len(found) > 200
    assert [(page, path) for page, path in sorted(found) if not is_there(path)] == []


@pytest.mark.parametrize("room", FOR_USERS)
def test_the_api_page_lists_every_public_name(room: str) -> None:
    public = getattr(import_module(f"zinbtools.{room}"), "__all__", [])
    assert {f"{room}.{name}" for name in public} - set(listed()) == set()


def types_in_signature(function: object) -> set[type]:
    """The classes of this package in the annotations of a function, or of a class and its making."""
    annotations = [*get_annotations(function).values(), *get_annotations(function.__init__).values()]
    scope = vars(sys.modules[function.__module__])
    met = [scope.get(word) for word in re.findall(r"\w+", " ".join(map(str, annotations)))]
    return {kind for kind in met if isinstance(kind, type) and kind.__module__.startswith("zinbtools")}


@pytest.mark.parametrize("name", listed())
def test_the_types_of_signatures_are_listed_too(name: str) -> None:
    met = types_in_signature(named(name)) if callable(named(name)) else set()
    assert [kind for kind in met if not any(kind is known for known in documented())] == []


def test_types_in_signatures_are_seen() -> None:
    """So that the test above cannot pass by finding none."""
    from zinbtools.stats.discrepancies import Check, GeneStatistics

    assert types_in_signature(zinbtools.tl.ppc) == {Check}
    assert types_in_signature(Check) == {GeneStatistics}
