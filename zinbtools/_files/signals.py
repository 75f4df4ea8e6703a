"""Clean up before a signal ends a run: SIGTERM and SIGHUP as SIGINT (Ctrl-C) does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is unknown to Windows
_ENDING = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
_SECONDS_TO_CLEAN_UP = 10.0


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end.

    Examples
    --------
    >>> Stopped(15).name, Stopped(15).exit_status
    ('SIGTERM', 143)
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_status = 128 + number


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let the signals that end a process raise `Stopped` in the block instead.

    One that comes while the first is being answered would cut off the cleaning up: for ten seconds it changes
    nothing. Signals that the caller ignores (as nohup does) or handles stay so, and outside of the main
    thread, where Python does not let anyone handle signals, all of them do.
    """
    last = -_SECONDS_TO_CLEAN_UP

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= _SECONDS_TO_CLEAN_UP:
            raise Stopped(number)
        last = before

    with _handled_by(stop, {signal.SIG_DFL, signal.default_int_handler}):
        yield


@contextmanager
def too_late_to_stop() -> Iterator[None]:
    """Let these signals change nothing in a block that is short and ends what they could only spoil."""
    with _handled_by(lambda *_: None, None):
        yield


@contextmanager
def _handled_by(handler: signal._HANDLER, instead_of: set[signal._HANDLER] | None) -> Iterator[None]:
    """Handle the signals whose handler is one of these, or that have any of Python's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    taken = {n: h for n, h in before.items() if h is not None and (instead_of is None or h in instead_of)}
    try:
        for number in taken:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in taken.items():
            signal.signal(number, old)
