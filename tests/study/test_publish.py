"""A folder that takes the place of another one, at once or file by file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zinbtools.study import _publish, staged
from zinbtools.study._publish import publish


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A new folder, and an old one with a file of another name."""
    new, old = tmp_path / "new", tmp_path / "old"
    for folder, text in ((new, "2"), (old, "1")):
        (folder / "figures").mkdir(parents=True)
        (folder / "table.csv").write_text(text)
        (folder / "figures" / "a.png").write_text(text)
    (old / "figures" / "mine.txt").write_text("mine")
    (old / "link").symlink_to("table.csv")
    return new, old


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


EXPECTED = {"table.csv": "2", "figures/a.png": "2", "figures/mine.txt": "mine", "link": "2"}


def test_both_change_places_at_once(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = folders
    monkeypatch.setattr(_publish, "_move_each", lambda *_: pytest.fail("moved one by one"))
    publish(new, old)
    assert contents(old) == EXPECTED
    assert contents(new)["table.csv"] == "1"


@pytest.mark.parametrize("obstacle", ["platform", "links", "library"])
def test_otherwise_files_move_one_by_one(
    obstacle: str, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("not here")

    if obstacle == "platform":
        monkeypatch.setattr("sys.platform", "darwin")
    elif obstacle == "links":
        monkeypatch.setattr(os, "link", refuse)
    else:
        monkeypatch.setattr(_publish.ctypes, "CDLL", lambda *_, **__: object())
    new, old = folders
    publish(new, old)
    assert contents(old) == EXPECTED


def test_a_folder_that_is_not_there_comes_by_one_rename(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before = contents(folders[0])
    publish(folders[0], tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_the_folder_is_as_open_as_any(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    modes = [stat.S_IMODE((tmp_path / "usual").stat().st_mode), 0o750]
    for mode in modes:
        with staged(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == (modes[0] if mode == modes[0] else 0o750)
        (tmp_path / "out").chmod(0o750)
    assert {path.name for path in tmp_path.iterdir()} == {"usual", "out"}
