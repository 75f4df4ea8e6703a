"""What CI installs as the oldest of everything is what pyproject.toml promises."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def test_the_floors_are_those_of_the_project() -> None:
    if not (ROOT / ".ci").is_dir():
        pytest.skip("an archive of the sources has no .ci folder")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = {
        need.name: Version(bound.version)
        for need in map(Requirement, project["dependencies"])
        for bound in need.specifier
        if bound.operator == ">="
    }
    lines = (ROOT / ".ci" / "floors.txt").read_text("utf-8").splitlines()
    installed = [Requirement(line) for line in lines if not line.startswith("#")]
    assert {need.name: Version(str(need.specifier).removeprefix("==")) for need in installed} == promised
