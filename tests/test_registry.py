"""The entry for scverse's registry keeps the registry's rules, as its schema 2.0 has them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
HOME = Path(__file__).parents[1]
FILE = HOME / "docs/ecosystem/meta.yaml"
if not FILE.exists():
    pytest.skip("only a checkout has the entry", allow_module_level=True)

REQUIRED = {
    "name",
    "description",
    "project_home",
    "documentation_home",
    "license",
    "tags",
    "primary_category",
    "language",
    "category",
    "install",
    "contact",
}
ALLOWED = REQUIRED | {"tutorials_home", "publications", "logo", "test_command"}
CATEGORIES = {"Data structures", "scRNA-seq", "bulk RNA-seq", "Spatial", "Epigenomics", "Proteomics"} | {
    "Adaptive immune cell receptor",
    "Multimodal",
    "Imaging",
    "Infrastructure",
}
# Of the vocabulary those that may be true of us.
TAGS = {"scRNA-seq", "preprocessing", "quality control", "probabilistic modeling", "deep learning"} | {
    "benchmarking",
    "visualization",
    "dimensionality reduction",
    "interoperability",
}


@pytest.fixture(scope="module")
def entry() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text("utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))["project"]


def test_it_has_what_it_must_and_nothing_else(entry: dict[str, Any]) -> None:
    assert entry.keys() >= REQUIRED
    assert entry.keys() <= ALLOWED  # a version is taken from the package index


def test_its_words_are_those_of_the_vocabulary(entry: dict[str, Any]) -> None:
    assert entry["category"] == "ecosystem"
    assert entry["language"] == "Python"
    assert entry["primary_category"] in CATEGORIES
    assert set(entry["tags"]) <= TAGS
    assert 1 <= len(entry["tags"]) == len(set(entry["tags"])) <= 10
    assert len(re.findall(r"[.?!](?:\s|$)", entry["description"])) in (1, 2)


def test_it_is_about_this_package(entry: dict[str, Any], project: dict[str, Any]) -> None:
    assert entry["name"] == entry["install"]["pypi"] == project["name"]
    assert entry["license"] == project["license"]
    assert entry["project_home"] == project["urls"]["Source"]
    assert entry["documentation_home"] == project["urls"]["Documentation"]
    page = entry["tutorials_home"].removeprefix(entry["documentation_home"] + "en/latest/")
    assert (HOME / "docs" / page).with_suffix(".md").exists()


def test_contacts_are_names_of_accounts(entry: dict[str, Any]) -> None:
    """Where they are given; no more than one is needed, and an empty list is refused."""
    contacts = entry["contact"]
    assert 1 <= len(contacts) == len(set(contacts))
    assert all(re.fullmatch(r"[A-Za-z\d](?:[A-Za-z\d-]{0,38})", name) for name in contacts)
