"""The command line: ``zinbtools study counts.h5ad --out study``, and the other verbs."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from errno import EDQUOT, ENOSPC
from functools import partial
from pathlib import Path
from signal import SIGINT
from tempfile import gettempdir
from typing import TYPE_CHECKING

from .._files.leftovers import sweep
from .._files.signals import Stopped, stop_on_signals
from .._words.sentence import sentence
from ._hints import in_shell
from ._streams import steady_streams
from ._told import is_told
from .atlas import studies_folder
from .options import in_utf8, parsed
from .verbs import VERBS, say, title

if TYPE_CHECKING:
    from argparse import Namespace


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    Exit status: 0 when all results are in place, 1 if the fit failed, 2 for input that cannot be used and
    results that cannot be written, and 128 + its number for a signal: 130 for Ctrl-C, 143 for SIGTERM, 129
    for SIGHUP. An error in the program itself is raised.

    Examples
    --------
    >>> main(["study", "absent.h5ad", "--out", "study"])
    2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with steady_streams():
        return _status(parsed(words), command=in_utf8(shlex.join(["zinbtools", *words])))


def _status(arguments: Namespace, *, command: str) -> int:
    """Run a verb, and say in a sentence what went wrong."""
    are_in_place = False
    try:
        with stop_on_signals(), warnings.catch_warnings(), _no_windows(), _log(arguments):
            warnings.showwarning = _show_warning
            with ExitStack() as at_last:
                with _staged(arguments) as folder:
                    found = VERBS[arguments.verb](arguments, command=command)
                    at_last.callback(print, f"\n{found.text}")  # whatever becomes of the files
                    found.write(folder)
                are_in_place = True
            say(arguments, found.after)
    except KeyboardInterrupt as signal:
        if not are_in_place:
            return _interrupted(arguments, signal if isinstance(signal, Stopped) else Stopped(SIGINT))
    except (ValueError, KeyError, TypeError, OSError) as error:
        if not is_told(error):
            error.add_note("This is a mistake in zinbtools, not in what it was given; please report it.")
            raise
        print(f"zinbtools: error: {in_shell(sentence(error))}{_which_disk(error)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"zinbtools: the fit failed: {sentence(error)}", file=sys.stderr)
        return 1
    return 0


def _interrupted(arguments: Namespace, signal: Stopped) -> int:
    how = "interrupted" if signal.name == "SIGINT" else f"ended by {signal.name}"
    kept = f"; the same command goes on from {arguments.resume}" if arguments.resume else ""
    where = f"nothing was written to {arguments.out}"
    if arguments.verb == "atlas":
        where = f"the finished studies are in {studies_folder(arguments)}"
    print(f"zinbtools: {how}; {where}{kept}", file=sys.stderr)
    return signal.exit_status


def _which_disk(error: Exception) -> str:
    """Say where there is no room, if the error does not say that itself."""
    full = isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT) and error.filename is None
    return " (neither --out nor --resume; perhaps the folder for temporary files, TMPDIR)" if full else ""


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    print(f"zinbtools: {category.__name__}: {in_shell(' '.join(str(message).split()))}", file=sys.stderr)


@contextmanager
def _log(arguments: Namespace) -> Iterator[None]:
    """Print what is logged of long work, where there is no terminal for a bar."""
    logger = logging.getLogger("zinbtools")
    if arguments.quiet:
        yield
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def _no_windows() -> Iterator[None]:
    """Draw into files, whatever a notebook or a desktop told the programs that it starts to draw with."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        del os.environ["MPLBACKEND"]
        if before is not None:
            os.environ["MPLBACKEND"] = before


def _staged(arguments: Namespace) -> AbstractContextManager[Path]:
    """Give the folder for the results; before it, what earlier runs left elsewhere goes."""
    named = title(arguments)
    from ..study import staged  # which is heavy, and comes after the cheap mistakes

    with suppress(FileNotFoundError):  # no such folder can be written to; whoever needs one will say so
        sweep(Path(gettempdir()), "zinbtools-")
    if arguments.resume:
        sweep(arguments.resume, "zinbtools-")
    return staged(arguments.out, verb=arguments.verb, title=named, say=partial(say, arguments))
