"""The documentation: what it names is there, and what a user meets is in it."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib import import_module
from inspect import get_annotations, signature
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

import zinbtools
from zinbtools.cli.options import parsed
from zinbtools.cli.verbs import VERBS

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


@pytest.mark.parametrize("name", listed())
def test_docstrings_refer_to_what_has_a_page(name: str) -> None:
    """Sphinx would say so too, after half an hour."""
    known = set(listed())
    rooms = {page.rpartition(".")[0] for page in known} | set(FOR_USERS)
    references = re.findall(r"(?<![`\w])`zinbtools\.([\w.]+)`", getattr(named(name), "__doc__", None) or "")
    pages = [path for path in references if path not in rooms]
    assert [path for path in pages if not {path, path.rpartition(".")[0]} & known] == []


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


@pytest.fixture
def selection(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark that writes docs/verdict_calibration.md."""
    monkeypatch.syspath_prepend(str(HOME / "tests/benchmarks"))
    return import_module("selection")


def test_the_page_of_the_intervals_is_as_its_writer_has_it(selection: ModuleType) -> None:
    """Its numbers took days; what it says around them is compared."""
    page = (HOME / "docs/verdict_calibration.md").read_text("utf-8")
    assert page.startswith(selection.HEAD.format(restarts=3, options=" --seeds 30 44 --restarts 3"))
    found = {
        family: sum(map(int, re.findall(rf"^\| {family} .* (\d+)/14 \|", page, re.MULTILINE)))
        for family in selection.FAMILIES
    }
    rows = [(family, i < n_covered) for family, n_covered in found.items() for i in range(28)]
    told = selection.coverage(pd.DataFrame(rows, columns=["family", "covered"]))
    assert told.startswith("Coverage: nominal 95 %, found 138 of 140 = 98.6 %")
    assert told in page


def test_coverage_is_told_of_what_was_evaluated(selection: ModuleType) -> None:
    records = pd.DataFrame({"family": list("aabbb"), "covered": [True, False, True, True, None]})
    told = selection.coverage(records)
    assert "found 3 of 4 = 75.0 %" in told
    assert "least for `a`, 1 of 2 = 50.0 %" in told


def test_the_page_of_the_calls_tells_nominal_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "tests/benchmarks"))
    tables = import_module("gene_tables")

    def record(base: str, **numbers: int) -> dict[str, object]:
        bins = [{"null": 0, "null_called": 0, "found": 0} | numbers]
        return {"base": base, "method": "conditional", "bins": bins}

    inflated = [record("a", null_called=1, found=99), record("b", null_called=6, found=94)]
    unknown = record("knocked-out pbmc4k", null_called=50, found=50)
    null = [record("a", null=600, null_called=3)]
    told = tables._nominal(null, [*inflated, unknown], ["a", "b", "knocked-out pbmc4k"])
    assert "Found: 1.0 % to 6.0 % of them, the most for b." in " ".join(told.split())
    assert "Found: 3 of 600 genes called = 0.50 %" in " ".join(told.split())
    page, whole = (HOME / "docs/gene_calls.md").read_text("utf-8"), tables.PAGE
    start, end = (whole.index(title) for title in ("{nominal}", "## Without inflation"))
    assert whole[start + len("{nominal}") : end] in page


BOOTSTRAP = ("README.md", *(f"docs/{page}.md" for page in ("gene_calls", "method", "results", "verdict")))


@pytest.mark.parametrize("page", [*BOOTSTRAP, "docs/tutorials/genes.md"])
def test_a_bootstrap_p_value_says_what_its_number_allows(page: str) -> None:
    """Wherever twins are told of, so is the smallest p value that their number allows."""
    paragraphs = re.split(r"\n\s*\n", (HOME / page).read_text("utf-8"))
    about = "\n".join(part for part in paragraphs if "bootstrap" in part.lower() or "1 / (1 +" in part)
    assert "bootstrap" in about
    assert re.search(r"1 / \(1 \+ N\)", about)
    assert re.search(r"no evidence beyond \.05", " ".join(about.split()))


@pytest.mark.parametrize("name", ["get.zi_genes_df", "stats.zero_inflation.bootstrap_pval"])
def test_and_so_do_the_functions(name: str) -> None:
    told = " ".join(str(named(name).__doc__).split())
    assert "1 / (1 + N)" in told
    assert "no evidence beyond .05" in told


def test_commands_and_calls_of_the_page_of_questions_are_right() -> None:
    page = (HOME / "docs/questions.md").read_text("utf-8")
    commands = re.findall(r"`zinbtools (\w+ [^`]+)`", page)
    assert len(commands) >= 8
    for command in commands:
        assert parsed(command.split()).out
    calls = [ast.parse(code, mode="eval").body for code in re.findall(r"`(zt\.[^`]+\))`", page)]
    assert len(calls) > 20
    for call in calls:
        assert isinstance(call, ast.Call)
        function = named(ast.unparse(call.func).removeprefix("zt"))
        assert callable(function)
        given = [None] * len(call.args), dict.fromkeys(keyword.arg or "" for keyword in call.keywords)
        signature(function).bind(*given[0], **given[1])
    assert {command.split()[0] for command in commands} == set(VERBS)
