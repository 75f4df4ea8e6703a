"""Folders of all shapes as ``--out``: nothing of the user's changes, and no result is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from zinbtools._files import leftovers as _leftovers
from zinbtools.cli import run as cli
from zinbtools.study import Incomplete, _publish, staged

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")

FIRST = {"genes.csv": "1", "report.html": "one", "figures/dropout.png": "p", "figures/zero_study.png": "z"}
SECOND = {"genes.csv": "2", "report.html": "two", "figures/dropout.png": "q"}
ALL_OF_IT = {*SECOND, "zinbtools_study.json"}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def publish(out: Path | str, files: dict[str, str], **options: Any) -> None:
    with staged(out, **options) as folder:
        write(folder, files)


def fail(out: Path, error: Exception, files: dict[str, str] = SECOND, **options: Any) -> None:
    """Let the work fail when these files are written."""

    def work() -> None:
        with staged(out, **options) as folder:
            write(folder, files)
            raise error

    with pytest.raises(type(error)):
        work()


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Kind, mode, owner, and content or goal of a folder and of all in it; links are not followed."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        about = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = os.readlink(path)
        elif stat.S_ISREG(about.st_mode):
            content = sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


def holds(out: Path, files: dict[str, str]) -> None:
    assert {name: (out / name).read_text() for name in files} == files
    hidden = [path.name for path in out.rglob(".zinbtools*")]
    assert hidden == []


# Shapes that a study is published into. Each makes what it needs in an empty home and returns what --out is.

Shape = Callable[[Path], Path]
SHAPES: dict[str, Shape] = {}


def shape(function: Shape) -> Shape:
    SHAPES[function.__name__.replace("_", " ")] = function
    return function


def old(home: Path) -> Path:
    """A folder with a study in it."""
    publish(home / "out", FIRST)
    return home / "out"


@shape
def a_folder_that_is_not_there(home: Path) -> Path:
    return home / "out"


@shape
def three_folders_that_are_not_there(home: Path) -> Path:
    return home / "a" / "b" / "out"


@shape
def an_empty_folder(home: Path) -> Path:
    (home / "out").mkdir()
    return home / "out"


@shape
def an_earlier_study(home: Path) -> Path:
    return old(home)


@shape
def notes_beside_an_earlier_study(home: Path) -> Path:
    out = old(home)
    write(out, {"notes.txt": "mine", "figures/mine.png": "mine", "figures/deep/more.png": "mine"})
    return out


@shape
def a_link_to_a_folder(home: Path) -> Path:
    write(home / "real", {"notes.txt": "mine"})
    (home / "out").symlink_to("real")
    return home / "out"


@shape
def a_link_to_a_link_to_an_empty_folder(home: Path) -> Path:
    (home / "real").mkdir()
    (home / "between").symlink_to(home / "real")
    (home / "out").symlink_to("between")
    return home / "out"


@shape
def a_link_to_an_earlier_study(home: Path) -> Path:
    old(home).rename(home / "real")
    (home / "out").symlink_to("real")
    return home / "out"


@shape
def a_dangling_link(home: Path) -> Path:
    (home / "out").symlink_to("not" + os.sep + "there")
    return home / "out"


@shape
def a_folder_below_a_link(home: Path) -> Path:
    (home / "real").mkdir()
    (home / "link").symlink_to("real")
    return home / "link" / "out"


@shape
def a_path_with_dots(home: Path) -> Path:
    (home / "a").mkdir()
    return home / "a" / ".." / "out"


@shape
def a_link_to_another_disk(home: Path) -> Path:
    (home / "out").symlink_to(other_disk(home))
    return home / "out"


@shape
def a_link_to_an_earlier_study_on_another_disk(home: Path) -> Path:
    (home / "out").symlink_to(other_disk(home))
    publish(home / "out", FIRST)
    return home / "out"


@shape
def figures_on_another_disk(home: Path) -> Path:
    out = home / "out"
    out.mkdir()
    (out / "figures").symlink_to(other_disk(home))
    return out


@shape
def an_earlier_study_with_figures_on_another_disk(home: Path) -> Path:
    out = figures_on_another_disk(home)
    publish(out, FIRST)
    return out


@shape
def figures_that_are_a_link_to_a_folder(home: Path) -> Path:
    write(home / "real", {"mine.png": "mine"})
    (home / "out").mkdir()
    (home / "out" / "figures").symlink_to("../real")
    return home / "out"


@shape
def links_to_folders_and_files_inside(home: Path) -> Path:
    out = old(home)
    write(home / "big", {"data.bin": "1" * 1000})
    (out / "data").symlink_to("../big")
    (out / "figures" / "link.png").symlink_to("dropout.png")
    (out / "absolute").symlink_to(home / "big" / "data.bin")
    (out / "dangling").symlink_to("nowhere")
    (out / "round").symlink_to("round")
    return out


@shape
def hard_links_to_an_earlier_study(home: Path) -> Path:
    """A backup by cp -al."""
    out = old(home)
    (home / "backup").mkdir()
    for name in ("genes.csv", "report.html"):
        os.link(out / name, home / "backup" / name)
    return out


@shape
def empty_folders_inside(home: Path) -> Path:
    out = old(home)
    (out / "empty" / "deep").mkdir(parents=True)
    return out


@shape
def an_empty_folder_of_figures(home: Path) -> Path:
    (home / "out" / "figures").mkdir(parents=True)
    return home / "out"


@shape
def private_folders_inside(home: Path) -> Path:
    out = old(home)
    write(out, {".ssh/key": "secret", "private/a": "secret"})
    for name in (".ssh", "private"):
        (out / name).chmod(0o700)
    (out / ".ssh" / "key").chmod(0o600)
    return out


@shape
def a_private_folder(home: Path) -> Path:
    out = old(home)
    out.chmod(0o700)
    return out


@shape
def a_folder_of_a_group(home: Path) -> Path:
    out = old(home)
    if os.geteuid() == 0:
        os.chown(out, 0, 12345)
    out.chmod(0o2775)
    return out


@shape
def a_sticky_folder(home: Path) -> Path:
    (home / "out").mkdir()
    (home / "out").chmod(0o1777)
    return home / "out"


@shape
def folders_that_nobody_may_enter(home: Path) -> Path:
    out = old(home)
    (out / "locked").mkdir(mode=0o000)
    return out


@shape
def write_protected_notes(home: Path) -> Path:
    out = old(home)
    write(out, {"notes.txt": "mine"})
    (out / "notes.txt").chmod(0o444)
    return out


@shape
def files_of_other_users(home: Path) -> Path:
    out = old(home)
    write(out, {"theirs/a.txt": "theirs"})
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(out / "theirs" / "a.txt", 65534, 65534)
    return out


@shape
def a_git_repository_with_packed_refs(home: Path) -> Path:
    out = home / "out"
    write(out, {"code.py": "print(1)"})
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(out)]
    if shutil.which("git") is None:
        pytest.skip("no git")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"], ["pack-refs", "--all"]):
        subprocess.run([*git, *words], check=True)
    return out


@shape
def pipes_and_sockets_inside(home: Path) -> Path:
    out = old(home)
    os.mkfifo(out / "pipe")
    return out


@shape
def names_that_are_hard_to_say(home: Path) -> Path:
    out = home / "o u*t[1]\n细"
    publish(out, FIRST)
    write(out, {"a b\n*.txt": "mine", "figures/-rf": "mine", "细胞.txt": "mine"})
    with suppress(OSError):  # some disks want names in UTF-8
        Path(os.fsdecode(os.fsencode(out) + b"/\xff")).write_text("mine")
    return out


@shape
def a_thousand_files(home: Path) -> Path:
    write(home / "out", {f"{i % 30}/{i}.txt": str(i) for i in range(1000)})
    return home / "out"


@shape
def kept_fits_inside(home: Path) -> Path:
    out = old(home)
    write(out, {"run.json": "{}", "nb-3.npz": "1", "kept/run.json": "{}"})
    return out


@shape
def a_search_in_the_same_folder(home: Path) -> Path:
    publish(home / "out", {"trials.csv": "t", "tuned.h5ad": "h"}, verb="tune")
    return home / "out"


@shape
def hidden_files_with_similar_names(home: Path) -> Path:
    out = home / "out"
    write(
        out, {".zinbtool": "mine", "zinbtools-1": "mine", ".out-abc/report.html": "mine", ".a.part": "mine"}
    )
    return out


@shape
def a_mount_point(home: Path) -> Path:
    (home / "out").mkdir()
    mount(home / "out")
    write(home / "out", {"keep.txt": "mine"})
    return home / "out"


@shape
def a_mount_point_inside(home: Path) -> Path:
    out = old(home)
    (out / "scratch").mkdir()
    mount(out / "scratch")
    write(out, {"scratch/keep.txt": "mine"})
    return out


@shape
def figures_that_are_a_mount_point(home: Path) -> Path:
    (home / "out" / "figures").mkdir(parents=True)
    mount(home / "out" / "figures")
    write(home / "out", {"figures/keep.png": "mine"})
    return home / "out"


@shape
def a_private_report(home: Path) -> Path:
    out = old(home)
    (out / "report.html").chmod(0o600)
    return out


def other_disk(home: Path) -> Path:
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == home.stat().st_dev:
        pytest.skip("no second disk at /dev/shm")
    return Path(tempfile.mkdtemp(prefix="elsewhere-", dir="/dev/shm"))


def mount(place: Path) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("may not mount")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    home.mkdir()
    yield home
    if sys.platform == "linux":
        places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in places:
            if place.startswith(str(home)):
                subprocess.run(["umount", place], check=True)
    for path in home.rglob("*"):
        if path.is_symlink() and os.readlink(path).startswith("/dev/shm/elsewhere-"):
            shutil.rmtree(os.readlink(path))


def no_longer_ours(name: str) -> bool:
    return name.endswith(tuple(FIRST)) or name.endswith(("zinbtools_study.json", "figures"))


@pytest.mark.parametrize("name", SHAPES)
def test_a_study_is_published_and_the_rest_stays(name: str, home: Path) -> None:
    out = SHAPES[name](home)
    before = snapshot(home) | {f"/{k}": v for k, v in snapshot(out.resolve()).items()} if out.exists() else {}
    publish(out, SECOND)
    holds(out, SECOND)
    after = snapshot(home) | {f"/{k}": v for k, v in snapshot(out.resolve()).items()}
    theirs = {name for name in before if not no_longer_ours(name)}
    assert {name: after.get(name) for name in theirs} == {name: before[name] for name in theirs}
    assert not (out / "figures" / "zero_study.png").exists()  # of the earlier study
    published = {f"/{name}" for name in ALL_OF_IT} | {"/figures"}
    new = {name for name in after if name not in before and name.startswith("/")} - {"/."}
    assert new <= published
    if name == "a private report":
        assert stat.S_IMODE((out / "report.html").stat().st_mode) == 0o600
    if name == "hard links to an earlier study":
        assert (home / "backup" / "genes.csv").read_text() == "1"
    if name == "a git repository with packed refs":
        subprocess.run(["git", "-C", str(out), "log"], check=True, capture_output=True)


@pytest.mark.parametrize("name", SHAPES)
def test_a_run_that_fails_leaves_no_trace(name: str, home: Path) -> None:
    out = SHAPES[name](home)
    before, inside = snapshot(home), snapshot(out.resolve()) if out.exists() else None
    fail(out, RuntimeError())
    assert snapshot(home) == before
    assert (snapshot(out.resolve()) if out.exists() else None) == inside


# What is refused before the work begins, with the folder as it was.


def unknown(name: str) -> Shape:
    def make(home: Path) -> Path:
        write(old(home) if name == "ppc.csv" else home / "out", {name: "mine"})
        return home / "out"

    return make


def folder_for_a_file(home: Path) -> Path:
    (home / "out" / "report.html").mkdir(parents=True)
    return home / "out"


def file_for_a_folder(home: Path) -> Path:
    write(home / "out", {"figures": "mine"})
    return home / "out"


def dangling_figures(home: Path) -> Path:
    (home / "out").mkdir()
    (home / "out" / "figures").symlink_to("nowhere")
    return home / "out"


def link_for_a_file(home: Path) -> Path:
    out = old(home)
    (out / "genes.csv").rename(home / "genes.csv")
    (out / "genes.csv").symlink_to("../genes.csv")
    return out


def pipe_for_a_file(home: Path) -> Path:
    (home / "out").mkdir()
    os.mkfifo(home / "out" / "genes.csv")
    return home / "out"


def edited(home: Path) -> Path:
    out = old(home)
    write(out, {"genes.csv": "1, and a note"})
    return out


def written_before_there_were_manifests(home: Path) -> Path:
    out = old(home)
    (out / "zinbtools_study.json").unlink()
    return out


def manifest_of_another(text: str) -> Shape:
    def make(home: Path) -> Path:
        write(home / "out", {"zinbtools_study.json": text})
        return home / "out"

    return make


def plain_file(home: Path) -> Path:
    write(home, {"out": "mine"})
    return home / "out"


def below_a_file(home: Path) -> Path:
    write(home, {"file": "mine"})
    return home / "file" / "out"


def link_to_itself(home: Path) -> Path:
    (home / "out").symlink_to("out")
    return home / "out"


def search_as_study(home: Path) -> Path:
    """A file of another command."""
    publish(home / "out", {"genes.csv": "t"}, verb="tune")
    return home / "out"


def escaping(home: Path) -> str:
    return json.dumps(
        {"verb": "study", "title": "x", "date": "d", "version": "1", "files": {"../../a.txt": "0"}}
    )


REFUSED: dict[str, tuple[Shape, str]] = {
    "a file": (plain_file, "is a file; give a folder"),
    "a folder below a file": (below_a_file, "file"),
    "a link to itself": (link_to_itself, "is a link to itself"),
    "a table of the user's": (unknown("genes.csv"), r"genes.csv \(of which zinbtools has no record\)"),
    "a table of the user's beside a study": (
        unknown("ppc.csv"),
        r"ppc.csv \(of which zinbtools has no record",
    ),
    "an h5ad of the user's": (unknown("annotated.h5ad"), r"annotated.h5ad \(of which"),
    "a figure of the user's": (unknown("figures/dropout.png"), r"figures/dropout.png \(of which"),
    "a folder where the report goes": (folder_for_a_file, r"report.html \(a folder\)"),
    "a file where figures go": (file_for_a_folder, r"figures/dropout.png \(figures is no folder\)"),
    "figures that lead nowhere": (dangling_figures, "figures is no folder"),
    "a link where a table goes": (link_for_a_file, r"genes.csv \(a link\)"),
    "a pipe where a table goes": (pipe_for_a_file, "no regular file"),
    "a table that was edited": (edited, r"genes.csv \(changed since zinbtools wrote it\)"),
    "a study without a manifest": (written_before_there_were_manifests, "of which zinbtools has no record"),
    "a manifest of something else": (manifest_of_another("[1]"), "is no list of files that zinbtools wrote"),
    "a manifest that is no JSON": (manifest_of_another("half {"), "is no list of files"),
    "a manifest of other files": (manifest_of_another(escaping(Path())), "is no list of files"),
    "a file of another command": (search_as_study, "of which zinbtools has no record"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_ours_is_refused_before_the_work(name: str, home: Path) -> None:
    make, words = REFUSED[name]
    out = make(home)
    before = snapshot(home)
    with pytest.raises((OSError, ValueError), match=words), staged(out):
        pytest.fail("the work began")
    assert snapshot(home) == before


def test_no_name_is_not_the_current_folder() -> None:
    with pytest.raises(ValueError, match="found no name"), staged(""):
        pytest.fail("the work began")
    for option in ("--out", "--resume"):
        words = ["study", "a.h5ad", "--out", "o", option, ""]
        with pytest.raises(SystemExit, match="^2$"):
            cli.main(words)


def in_a_child(work: Callable[[], object]) -> tuple[int, str]:
    """The status of a process that does this, and the message it fails with."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads, which this does not touch
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            os.write(writing, str(error).encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as told:
        message = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), message


def as_nobody(out: Path) -> tuple[int, str]:
    """Publish as a user who owns nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can become someone else")

    def work() -> None:
        os.setuid(65534)
        publish(out, {"genes.csv": "2"})

    return in_a_child(work)


@pytest.fixture
def open_home() -> Iterator[Path]:
    """A folder that other users can reach."""
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    home.chmod(0o755)
    yield home
    if shutil.which("chattr"):
        subprocess.run(["chattr", "-R", "-i", "-a", str(home)], capture_output=True)
    shutil.rmtree(home)


def test_the_parent_need_not_be_writable(open_home: Path) -> None:
    out = open_home / "out"
    out.mkdir()
    if os.geteuid() == 0:
        os.chown(out, 65534, 65534)
    assert as_nobody(out) == (0, "")
    holds(out, {"genes.csv": "2"})


@pytest.mark.parametrize("place", [".", "figures"])
def test_a_folder_that_may_not_be_written_is_refused(place: str, open_home: Path) -> None:
    out = open_home / "out"
    (out / "figures").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(out, 65534, 65534)
        os.chown(out / "figures", 65534, 65534)
    (out / place).chmod(0o555)
    before = snapshot(open_home)
    refusal = f"--out: cannot write to {(out / place).resolve()} (Permission denied); give another folder."
    assert as_nobody(out) == (1, refusal)
    assert snapshot(open_home) == before


def test_a_write_protected_result_is_refused(open_home: Path) -> None:
    out = open_home / "out"
    out.mkdir()
    if os.geteuid() == 0:
        os.chown(out, 65534, 65534)
    assert as_nobody(out) == (0, "")
    (out / "genes.csv").chmod(0o444)
    before = snapshot(open_home)
    assert "genes.csv (Permission denied)" in as_nobody(out)[1]
    assert snapshot(open_home) == before


@pytest.mark.skipif(shutil.which("chattr") is None, reason="no chattr")
@pytest.mark.parametrize(("flag", "place"), [("+i", "genes.csv"), ("+i", "."), ("+a", ".")])
def test_what_cannot_change_is_refused(flag: str, place: str, open_home: Path) -> None:
    out = open_home / "out"
    publish(out, FIRST)
    if subprocess.run(["chattr", flag, str(out / place)], capture_output=True).returncode != 0:
        pytest.skip("no attributes on this disk")
    before = snapshot(out)
    with pytest.raises(OSError, match="cannot|not permitted"), staged(out):
        pytest.fail("the work began")
    if flag == "+i":
        assert snapshot(out) == before
    subprocess.run(["chattr", "-i", "-a", str(out / place)], check=True)


# What happens meanwhile.


def test_others_may_write_into_the_folder_meanwhile(home: Path) -> None:
    out = old(home)
    with staged(out) as folder:
        write(folder, SECOND)
        write(out, {"log.txt": "mine", "figures/late.png": "mine"})
        (out / "late").mkdir()
    holds(out, SECOND | {"log.txt": "mine", "figures/late.png": "mine"})
    assert (out / "late").is_dir()


def kept_results(home: Path, caught: pytest.ExceptionInfo[OSError]) -> Path:
    """The folder that the message names."""
    words = str(caught.value).replace(";", " ").split()
    return next(Path(word) for word in words if "-not-in-place-" in word and word.startswith(str(home)))


@pytest.mark.parametrize("late", ["ppc.csv", "annotated.h5ad", "figures/ppc_cv.png"])
def test_a_file_that_comes_meanwhile_is_not_overwritten(late: str, home: Path) -> None:
    out = old(home)

    def work() -> None:
        with staged(out) as folder:
            write(folder, SECOND | {late: "ours"})
            write(out, {late: "mine"})

    with pytest.raises(OSError, match="of which zinbtools has no record") as caught:
        work()
    holds(out, FIRST | {late: "mine"})
    kept = kept_results(home, caught)
    holds(kept, SECOND | {late: "ours"})
    (out / late).unlink()
    publish(out, SECOND)
    holds(out, SECOND)
    holds(kept, SECOND | {late: "ours"})


@pytest.mark.parametrize("n_moved", range(9))
def test_a_file_that_cannot_be_replaced_at_the_end_costs_nothing(
    n_moved: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a table that is open in a spreadsheet cannot be moved."""
    out = old(home)
    write(out, {"notes.txt": "mine"})
    before = snapshot(out)
    move, n_calls = _publish._move, 0

    def fail(source: Path, goal: Path) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == n_moved + 1:
            raise PermissionError(13, "used by another process", str(goal))
        move(source, goal)

    monkeypatch.setattr(_publish, "_move", fail)
    with pytest.raises(OSError, match="used by another process") as caught:
        publish(out, SECOND)
    kept = kept_results(home, caught)
    holds(kept, SECOND)
    shutil.rmtree(kept)
    assert snapshot(out) == before


def test_studies_that_end_at_the_same_time_do_not_mix(home: Path) -> None:
    out, errors = home / "out", []
    ready = threading.Barrier(4)

    def run(number: int) -> None:
        try:
            with staged(out) as folder:
                ready.wait()
                write(
                    folder, {f"figures/{i}.png": str(number) for i in range(20)} | {"genes.csv": str(number)}
                )
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({path.read_text() for path in out.rglob("*") if path.suffix in (".png", ".csv")}) == 1
    holds(out, {})


def test_a_study_and_a_search_share_a_folder(home: Path) -> None:
    out, search = home / "out", {"tuned.h5ad": "h", "trials.csv": "t"}
    with staged(out) as study, staged(out, verb="tune") as tune:
        write(study, SECOND)
        write(tune, search)
    holds(out, SECOND | search)
    publish(out, search, verb="tune")
    publish(out, FIRST)
    holds(out, FIRST | search)


def test_the_earlier_study_is_named(home: Path) -> None:
    out = home / "out"
    said: list[str] = []
    publish(out, FIRST, title="counts.h5ad", say=said.append)
    assert said == []
    publish(out, SECOND, title="other.h5ad", say=said.append)
    date = json.loads((out / "zinbtools_study.json").read_text())["date"]
    assert said == [f"replacing the study of counts.h5ad of {date} in {out}"]


def test_a_shell_in_the_folder_stays_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = old(home)
    monkeypatch.chdir(out)
    publish(".", SECOND)
    assert Path("genes.csv").read_text() == "2"
    assert os.stat(".").st_ino == out.stat().st_ino


# Results of which something is missing


def half(out: Path) -> None:
    with staged(out) as folder:
        write(folder, SECOND)
        raise Incomplete("no h5ad")


def test_what_could_be_made_is_published(home: Path) -> None:
    with pytest.raises(Incomplete, match="no h5ad; the rest is in"):
        half(home / "out")
    holds(home / "out", SECOND)


def test_half_of_a_study_does_not_replace_a_whole_one(home: Path) -> None:
    out = old(home)
    with pytest.raises(OSError, match="no h5ad; the study of counts of .* is not replaced") as caught:
        half(out)
    holds(out, FIRST)
    holds(kept_results(home, caught), SECOND)


# Killed runs


@pytest.mark.parametrize("n_moved", range(8))
def test_what_was_cut_off_when_it_was_published_is_finished_by_the_next_run(
    n_moved: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = old(home)
    write(out, {"notes.txt": "mine"})
    move, left = _publish._move, n_moved

    def die(source: Path, goal: Path) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        move(source, goal)

    with monkeypatch.context() as patch:
        patch.setattr(_publish, "_move", die)
        status, _ = in_a_child(lambda: publish(out, SECOND))
    assert status == -signal.SIGKILL
    said: list[str] = []
    fail(out, RuntimeError(), say=said.append)
    assert "was cut off when it was done" in said[0]
    holds(out, SECOND | {"notes.txt": "mine"})
    assert not (out / "figures" / "zero_study.png").exists()


def test_what_a_killed_run_left_is_removed_and_what_lives_is_not(home: Path) -> None:
    out = home / "out"

    def die() -> None:
        with staged(out) as folder:
            write(folder, SECOND)
            os.kill(os.getpid(), signal.SIGKILL)

    with staged(out, verb="tune") as living:
        assert in_a_child(die)[0] == -signal.SIGKILL
        assert len(list(out.glob(".zinbtools-*"))) == 2
        publish(out, SECOND)
        assert list(out.glob(".zinbtools-*")) == [living.parent]
        write(living, {"trials.csv": "t"})
    holds(out, SECOND | {"trials.csv": "t"})


def test_nobody_elses_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other computers, of other users, with other names, and links."""
    here = _leftovers._mark()
    there = "elsewhere-0123abcd-1-89abcdef"
    for name in (f"x-{there}", f"x-{here}-more", "x-1", "x-"):
        write(tmp_path / name, {_leftovers._OWNER: "", "data": "1"})
    write(tmp_path / f"x-{here}", {"data": "no owner"})
    other = here[:-1] + ("1" if here.endswith("0") else "0")
    write(tmp_path, {f".a.zinbtools.{there}.part": "", ".b.part": "", f"x-{other}": "a file"})
    write(tmp_path / "y", {_leftovers._OWNER: "", "data": "1"})
    (tmp_path / f"x-{_leftovers._mark()}").symlink_to("y")
    if os.geteuid() == 0:
        theirs = tmp_path / f"x-{_leftovers._mark()}"
        write(theirs, {_leftovers._OWNER: "", "data": "1"})
        os.chown(theirs / _leftovers._OWNER, 65534, 65534)
    before = snapshot(tmp_path)
    _leftovers.sweep(tmp_path, "x-")
    assert snapshot(tmp_path) == before


def test_leftovers_of_the_dead_are_removed(tmp_path: Path) -> None:
    write(tmp_path / f"x-{_leftovers._mark()}", {_leftovers._OWNER: "", "data/deep": "1"})
    (tmp_path / f"x-{_leftovers._mark()}").mkdir()
    write(tmp_path, {f".a.npz.zinbtools.{_leftovers._mark()}.part": "half"})
    with _leftovers.own_folder(tmp_path, "x-") as living, _leftovers.whole_file(tmp_path / "b") as file:
        file.write(b"1")
        _leftovers.sweep(tmp_path, "x-")
        assert living.is_dir()
    assert os.listdir(tmp_path) == ["b"]
    _leftovers.sweep(tmp_path / "absent", "x-")


def test_a_lock_of_the_dead_is_taken_over_and_one_of_the_living_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"lock": _leftovers._mark()})
    with _leftovers.alone(tmp_path / "lock"):
        monkeypatch.setattr(_leftovers, "_PATIENCE", 0.1)
        with pytest.raises(TimeoutError, match="another zinbtools"), _leftovers.alone(tmp_path / "lock"):
            pytest.fail("two at a time")
    assert os.listdir(tmp_path) == []
