"""Which copy of the package computes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from zinbtools.jobs import software as _software

PACKAGE = Path(_software.__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package without what importing it leaves."""
    return shutil.copytree(PACKAGE, tmp_path / "zinbtools", ignore=shutil.ignore_patterns("__pycache__"))


def digest(where: Path) -> str:
    """The digest of the copy of the package in a folder or an archive."""
    code = f"import sys; sys.path.insert(0, {str(where)!r}); import zinbtools.jobs.software as s; "
    code += f"assert s.__file__.startswith({str(where)!r}); print(s.source_digest())"
    done = subprocess.run([sys.executable, "-Bc", code], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def test_the_digest_is_of_the_sources_alone(copy: Path) -> None:
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "cli.pyc").touch()
    (copy / "notes.txt").touch()
    assert digest(copy.parent) == _software.source_digest()


def test_one_other_number_makes_another_digest(copy: Path) -> None:
    compiled = copy / "model" / "compiled.py"
    compiled.write_text(compiled.read_text("utf-8").replace("_BETAS = 0.9, 0.999", "_BETAS = 0.8, 0.999"))
    assert digest(copy.parent) != _software.source_digest()


def test_the_package_may_be_in_an_archive(copy: Path) -> None:
    archive = copy.parent / "zinbtools.zip"
    with ZipFile(archive, "w") as file:
        for path in copy.rglob("*"):
            file.write(path, path.relative_to(copy.parent))
    assert digest(archive) == _software.source_digest()


def test_other_software_is_named_with_both_versions() -> None:
    _software.refuse_other_software(_software.software())
    with pytest.raises(RuntimeError, match=r"the worker process \d+ on \S+ has numpy \S+ where .* has 1\.0;"):
        _software.refuse_other_software(_software.software() | {"numpy": "1.0"})
