"""The house rules: arrows between rooms, who knows torch or AnnData, the shape of the public functions."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

import pytest

import zinbtools

PACKAGE = Path(zinbtools.__file__).parent
DOCS = Path(__file__).parents[1] / "docs"

# Row of the plan: | `room` | what is in it | `room`, `room` |
PLAN_ROW = re.compile(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", re.MULTILINE)


@cache
def plan() -> dict[str, set[str]]:
    """Room -> the rooms that it may open, as docs/contributing.md says."""
    rows = PLAN_ROW.findall((DOCS / "contributing.md").read_text("utf-8"))
    return {room: set(re.findall(r"`(\w+)`", may_open)) for room, may_open in rows}


BARRED: dict[str, set[str]] = {
    "model": {"anndata", "scanpy", "matplotlib", "pandas"},
    "stats": {"anndata", "scanpy", "matplotlib", "pandas", "torch"},
    "kernels": {"anndata", "scanpy", "matplotlib", "pandas", "torch", "scipy"},
    "jobs": {"anndata", "scanpy", "matplotlib"},
    "pl": {"torch", "hyperopt"},
    "simulate": {"torch", "matplotlib"},
    "datasets": {"torch", "matplotlib"},
}
NO_ANNDATA_DOOR = {"_check", "_words", "_record", "_files", "kernels", "stats", "model", "jobs", "pl"}

PUBLIC = ("tl", "pl", "get", "simulate", "datasets")


class Import(NamedTuple):
    """One import statement's target, as the absolute dotted name, and where it stands."""

    source: str
    line: int
    target: str


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path, tree: ast.AST) -> list[Import]:
    """All imports of a module, at its top or in its functions, with relative ones made absolute."""
    relative = path.relative_to(PACKAGE.parent)
    package = relative.parent.parts
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(str(relative), node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = [*base, *([node.module] if node.module else [])]
            found += [Import(str(relative), node.lineno, ".".join([*parts, a.name])) for a in node.names]
    return found


@cache
def imports() -> dict[str, list[Import]]:
    """Room -> its imports; the lazy ``__init__`` of the package is no room."""
    rooms: dict[str, list[Import]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "__init__.py":
            rooms.setdefault(room_of(path), []).extend(imports_of(path, ast.parse(path.read_text("utf-8"))))
    return rooms


def own_room(target: str) -> str | None:
    """The room that an import of zinbtools itself opens; None for other packages and the package's root."""
    parts = target.split(".")
    return parts[1] if parts[0] == "zinbtools" and len(parts) > 1 else None


def test_relative_imports_are_resolved() -> None:
    tree = ast.parse("from . import a\nfrom .b import c\nfrom ..stats import d\ndef f():\n    import x.y\n")
    found = [i.target for i in imports_of(PACKAGE / "tl" / "_fit.py", tree)]
    assert found == ["zinbtools.tl.a", "zinbtools.tl.b.c", "zinbtools.stats.d", "x.y"]


def arrows() -> dict[str, set[str]]:
    """Room -> the other rooms that it opens."""
    return {
        room: {target for i in found if (target := own_room(i.target)) not in (None, room)}
        for room, found in imports().items()
    }


def test_every_room_is_in_the_plan() -> None:
    assert set(imports()) == set(plan())


@pytest.mark.parametrize("room", sorted(plan()))
def test_arrows_are_those_of_the_plan(room: str) -> None:
    where = [
        f"{i.source}:{i.line}" for i in imports()[room] if own_room(i.target) in arrows()[room] - plan()[room]
    ]
    assert where == []
    assert arrows()[room] == plan()[room]


def test_arrows_point_one_way() -> None:
    """A room is listed below all that it opens, so that none runs up and none in a circle."""
    rooms = list(plan())
    assert [
        (room, other) for room in rooms for other in plan()[room] if rooms.index(other) >= rooms.index(room)
    ] == []


def test_nobody_imports_the_root() -> None:
    """``import zinbtools`` inside a room would open every other room behind the arrows' back."""
    root = [
        f"{i.source}:{i.line}"
        for found in imports().values()
        for i in found
        if i.target in ("zinbtools", "zinbtools.__version__")
    ]
    assert root == []


@pytest.mark.parametrize("room", sorted(NO_ANNDATA_DOOR))
def test_the_door_to_anndata_is_not_used(room: str) -> None:
    assert "_anndata" not in arrows()[room]


@pytest.mark.parametrize("room", sorted(BARRED))
def test_barred_packages_are_not_named(room: str) -> None:
    assert [i for i in imports().get(room, []) if i.target.split(".")[0] in BARRED[room]] == []


@pytest.mark.parametrize(
    ("room", "packages"),
    [("kernels", {"numpy", "numba", "llvmlite"}), ("stats", {"numpy", "scipy"})],  # llvmlite is numba's
)
def test_rooms_of_arithmetic_need_little(room: str, packages: set[str]) -> None:
    others = {i.target.split(".")[0] for i in imports()[room]} - sys.stdlib_module_names
    assert others <= packages | {"zinbtools"}


def loaded_by(code: str) -> set[str]:
    """The packages and modules that a fresh interpreter holds after running code."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_is_light() -> None:
    heavy = {"torch", "scanpy", "anndata", "matplotlib", "hyperopt", "scipy", "pandas"}
    assert loaded_by("import zinbtools") & heavy == set()
    rooms = "from zinbtools import get, pl, study, tl"
    assert loaded_by(rooms) & heavy == set()


def test_verbs_load_what_scipy_has_of_tests_when_they_need_it() -> None:
    """It takes half a second and 45 MB."""
    found = loaded_by("from zinbtools import tl\nfor name in dir(tl): getattr(tl, name)")
    assert "torch" in found
    assert found & {"scipy.stats", "scipy.optimize"} == set()


def test_an_answer_of_many_studies_needs_no_torch() -> None:
    assert loaded_by("from zinbtools.study import run_meta, write_meta") & {"torch", "scanpy"} == set()


def test_statistics_are_reached_without_an_import_of_their_own() -> None:
    modules = {path.stem for path in (PACKAGE / "stats").glob("[a-z]*.py")}
    assert set(dir(zinbtools.stats)) == modules
    found = loaded_by(
        "import zinbtools as zt\nzt.stats.discrepancies.Check, zt.stats.equivalence.default_rope"
    )
    assert "zinbtools" in found
    assert found & {"torch", "anndata", "numba"} == set()


@pytest.mark.parametrize(
    ("room", "barred"),
    [
        ("model", {"anndata", "scanpy"}),
        ("stats", {"anndata", "scanpy", "torch"}),
        ("pl", {"torch", "hyperopt"}),
        ("simulate", {"torch"}),
        ("_anndata", {"torch"}),
    ],
)
def test_barred_packages_do_not_come_in_through_others(room: str, barred: set[str]) -> None:
    paths = [PACKAGE / room] if (PACKAGE / room).is_dir() else [PACKAGE / f"{room}.py"]
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for root in paths
        for path in sorted(root.rglob("*.py"))
    ]
    loaded = loaded_by("\n".join(f"import {module}" for module in modules))
    assert "zinbtools" in loaded
    assert loaded & barred == set()


def opened(name: str) -> ModuleType:
    return import_module(f"zinbtools.{name}")


def public_functions(*rooms: str) -> list[object]:
    """One pytest parameter per function in the ``__all__`` of the rooms."""
    found = [
        (f"{name}.{symbol}", getattr(opened(name), symbol))
        for name in rooms
        for symbol in sorted(opened(name).__all__)
    ]
    return [pytest.param(f, id=label) for label, f in found if isinstance(f, FunctionType)]


def room_and_name(function: FunctionType) -> str:
    return f"{function.__module__.split('.')[1]}.{function.__name__}"


@pytest.mark.parametrize("function", public_functions("tl", "pl", "get"))
def test_adata_comes_first_and_little_else_by_position(function: FunctionType) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    first = {
        "tl.meta": "table",
        "tl.replicated": "pval",
        "pl.meta": "found",
    }  # of many studies, which no AnnData holds
    assert parameters[0].name == first.get(room_and_name(function), "adata")
    by_position = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert len(by_position) <= 3
    assert not {"copy", "save"} & set(by_position)


@pytest.mark.parametrize("function", public_functions("pl"))
def test_plots_can_return_their_figure_and_do_not_save(function: FunctionType) -> None:
    parameters = inspect.signature(function).parameters
    assert {"show", "return_fig"} <= set(parameters)
    assert "key" in parameters or "adata" not in parameters
    assert "save" not in parameters


@pytest.mark.parametrize("function", public_functions(*PUBLIC))
def test_everything_is_annotated(function: FunctionType) -> None:
    signature = inspect.signature(function)
    bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert bare == []
    assert signature.return_annotation is not signature.empty


@pytest.mark.parametrize("function", public_functions(*PUBLIC))
def test_docstrings_tell_everything(function: FunctionType) -> None:
    doc = inspect.getdoc(function) or ""
    sections = {title for title, rule in pairwise(doc.splitlines()) if is_rule(rule)}
    needed = {"Returns", "Examples"} | ({"Parameters"} if inspect.signature(function).parameters else set())
    assert needed <= sections
    assert ">>> " in doc
    untold = [name for name in inspect.signature(function).parameters if not names_parameter(doc, name)]
    assert untold == []


def is_rule(line: str) -> bool:
    return len(line) > 2 and set(line) == {"-"}


def names_parameter(doc: str, name: str) -> bool:
    """Whether an unindented line of the docstring lists the parameter, alone or among others."""
    return any(
        name in [n.strip().lstrip("*") for n in line.split(" :")[0].split(",")]
        for line in doc.splitlines()
        if not line.startswith(" ")
    )


def test_every_plot_is_shown_in_the_documentation() -> None:
    pages = "\n".join(path.read_text("utf-8") for path in DOCS.rglob("*.md"))
    assert [name for name in opened("pl").__all__ if f"zt.pl.{name}(" not in pages] == []
