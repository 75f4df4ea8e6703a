"""Kill small studies at random moments and tell what they leave behind.

python tests/benchmarks/kills.py --kill 30 --term 10 --hup 10

Each run is the command line in a process forked from one that has loaded everything, so that most moments
fall into the work. In a round one run gets a signal and the next does not; then ``--out`` must hold the whole
study and the notes that were there, and neither it, nor ``--resume``, nor TMPDIR anything else.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from zinbtools import get, pl, simulate, study, tl
from zinbtools.cli import run as cli
from zinbtools.study._manifest import FILES

LOADED = (get, pl, simulate, study, tl)
WORDS = ["study", "--simulate", "zisynth", "--n-obs", "150", "--max-epochs", "2", "--restarts", "2"]


def start(home: Path, *words: str) -> int:
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(home / "told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os._exit(cli.main([*WORDS, "--resume", str(home / "kept"), "--out", str(home / "out"), *words]))
    return child


def status(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left_in(home: Path) -> list[str]:
    """What should not be there."""
    wanted = {*FILES["study"], "figures", "zinbtools_study.json", "notes.txt"}
    found = {path.relative_to(home / "out").as_posix() for path in (home / "out").rglob("*")}
    kept = [path.name for path in (home / "kept").iterdir() if path.suffix not in (".npz", ".json")]
    return [*sorted(found ^ wanted), *kept, *os.listdir(home / "tmp")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = {name: getattr(signal, f"SIG{name.upper()}") for name in ("kill", "term", "hup")}
    for name in numbers:
        parser.add_argument(f"--{name}", type=int, default=1, help=f"how often SIG{name.upper()} is sent")
    parser.add_argument("--seconds", type=float, help="the latest moment (default: as long as a run takes)")
    arguments = parser.parse_args()
    bad = 0
    for name, number in numbers.items():
        seen: Counter[int] = Counter()
        for i in range(getattr(arguments, name)):
            with tempfile.TemporaryDirectory(prefix="kills-") as folder:
                home = Path(folder)
                (home / "out").mkdir()
                (home / "tmp").mkdir()
                (home / "out" / "notes.txt").write_text("mine")
                tempfile.tempdir = str(home / "tmp")
                began = time.monotonic()
                if arguments.seconds is None:
                    assert status(start(home, "--resume", str(home / "first"), "--out", str(home / "o"))) == 0
                    arguments.seconds = time.monotonic() - began
                child = start(home)
                time.sleep(random.Random(f"{name}{i}").uniform(0, arguments.seconds))
                os.kill(child, number)
                seen[status(child)] += 1
                after = status(start(home))
                left = left_in(home)
                tempfile.tempdir = None
                if after != 0 or left or (home / "out" / "notes.txt").read_text() != "mine":
                    bad += 1
                    print(f"SIG{name.upper()} {i}: next run {after}, left {left}")
        print(f"SIG{name.upper()}: statuses {dict(seen)}", flush=True)
    print(f"{bad} rounds left something or failed")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
