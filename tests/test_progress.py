"""What is told of long work where there is no terminal."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from zinbtools import simulate, tl
from zinbtools.cli import run as cli
from zinbtools.jobs import progress
from zinbtools.jobs.progress import Lines, progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_half_minute_and_one_at_the_end(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="zinbtools")
    with progress_bar(100, "tuning", "fit", shown=True) as bar:
        assert isinstance(bar, Lines)  # pytest has no terminal
        for _ in range(100):
            clock[0] += 1.0
            bar.update()
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "tuning: 30 of 100 fits, 30 %, 0:30 so far, about 1:10 left",
        "tuning: 60 of 100 fits, 60 %, 1:00 so far, about 0:40 left",
        "tuning: 90 of 100 fits, 90 %, 1:30 so far, about 0:10 left",
        "tuning: 100 of 100 fits, 100 %, 1:40 so far",
    ]


def test_a_step_that_takes_no_time_has_no_line(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="zinbtools")
    for seconds in (1.0, 3.0):
        with progress_bar(2, "twins", "twin", shown=True, late=2.0) as bar:
            bar.update(2)
            clock[0] += seconds
    assert [record.getMessage() for record in caplog.records] == ["twins: 2 of 2 twins, 100 %, 0:03 so far"]


def test_the_end_is_told_once(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="zinbtools")
    with progress_bar(2, "twins", "twin", shown=True) as bar:
        clock[0] += 73.0
        bar.update(2)
    assert [record.getMessage() for record in caplog.records] == ["twins: 2 of 2 twins, 100 %, 1:13 so far"]


def test_hours_and_notes_are_told(clock: list[float]) -> None:
    lines = Lines(4, "tuning", "fit")
    lines.update(2)
    lines.set_postfix_str("NLL 3.00", refresh=False)
    clock[0] = 3723.0
    assert lines.told(3723.0) == "tuning: 2 of 4 fits, 50 %, 1:02:03 so far, about 1:02:03 left, NLL 3.00"


def test_a_first_step_that_waited_for_a_compilation_foretells_nothing(clock: list[float]) -> None:
    lines = Lines(1600, "NB and ZINB", "epoch")
    clock[0] = 55.0
    lines.update()
    assert lines.told(55.0) == "NB and ZINB: 1 of 1,600 epochs, 0 %, 0:55 so far"
    clock[0] = 85.0
    lines.update(799)
    assert lines.told(85.0) == "NB and ZINB: 800 of 1,600 epochs, 50 %, 1:25 so far, about 0:30 left"


def test_a_large_first_step_foretells_nothing_unless_it_took_long(clock: list[float]) -> None:
    lines = Lines(2000, "tests of genes", "gene")
    clock[0] = 153.0
    lines.update(128)
    assert lines.told(153.0) == "tests of genes: 128 of 2,000 genes, 6 %, 2:33 so far"
    lines = Lines(6, "tuning", "fit")
    clock[0] = 753.0
    lines.update(1)
    assert lines.told(753.0) == "tuning: 1 of 6 fits, 17 %, 10:00 so far, about 50:00 left"


def test_nothing_is_told_on_request(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="zinbtools")
    with progress_bar(2, "tuning", "fit", shown=False) as bar:
        clock[0] = 1000.0
        bar.update()
    assert caplog.records == []


def test_a_fit_tells_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="zinbtools")
    tl.fit_nb_zinb(simulate.zisynth(n_obs=100), max_epochs=2, models="nb")
    told = [record.getMessage().split(",")[0] for record in caplog.records]
    assert told[-1] == "NB: 2 of 2 epochs"
    assert told.count(told[-1]) == 1


@pytest.mark.parametrize("quiet", [True, False])
def test_the_command_line_prints_the_lines(
    quiet: bool, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "genes",
        "--simulate",
        "zisynth",
        "--n-obs",
        "100",
        "--max-epochs",
        "2",
        "--out",
        f"{tmp_path}/o",
    ]
    assert cli.main([*words, "--quiet"] if quiet else words) == 0
    assert ("NB: 2 of 2 epochs, 100 %" in capsys.readouterr().out) is not quiet
    assert logging.getLogger("zinbtools").handlers == []


def test_a_notebook_without_widgets_has_a_bar_of_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setattr(progress, "find_spec", lambda _: None)
    with progress_bar(3, "tuning", "fit", shown=True) as bar:
        assert type(bar) is tqdm
        bar.update(3)
    printed = capsys.readouterr()
    assert "tuning: 100%" in printed.out
    assert printed.err == ""


def test_the_shell_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", shell)
    with progress_bar(3, "tuning", "fit", shown=True) as bar:
        assert isinstance(bar, Lines)


def test_a_step_that_is_over_at_once_has_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(progress, "find_spec", lambda _: None)
    with progress_bar(3, "predictive checks", "draw", shown=True, late=60.0) as bar:
        bar.update(3)
    assert capsys.readouterr().out.strip() == ""
