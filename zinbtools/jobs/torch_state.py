"""Put torch into the state that it has when imported, and threads into short turns, while computing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import torch
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

_TURN = 0.0002  # seconds

# Products in single precision are MKL's, which on AMD's processors takes twice as long as oneDNN.
SLOW_MKL = get_host_cpu_name().startswith("znver")
# torch asks oneDNN for them where it is told that bfloat16 would do. On processors with AMX oneDNN makes use
# of that; on others it computes in single precision.
ONEDNN = (
    SLOW_MKL
    and get_host_cpu_features().get("avx512f", False)  # without it torch does not ask
    and not get_host_cpu_features().get("amx-bf16", False)
    and torch.backends.mkldnn.is_available()
    and hasattr(torch.backends, "fp32_precision")  # since torch 2.9
)
_ON_CPU = "bf16" if ONEDNN else "ieee"


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Set single precision, the CPU unless told otherwise, and gradients; afterwards all is as it was.

    What torch keeps for each thread (default device, inference mode, gradients, autocast) is set for this
    one. What it keeps for the process (default type, precision of matrix products) is set for all threads
    until the last one leaves: one of the user's that relies on its own settings does not have them then.

    A thread that comes back from a product waits up to 5 ms for one that interprets Python, which is as long
    as a training step: until the last one leaves it is a fifth of a millisecond.
    """
    with ExitStack() as stack:
        stack.enter_context(_of_the_process())
        if torch.get_default_device().type != "cpu":  # every call is slower in such a context
            stack.enter_context(torch.device("cpu"))
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


class _Setting(NamedTuple):
    """A setting of the process: how to write it, its value in the session, and the one wanted."""

    write: Callable[[Any], Any]
    found: Any
    wanted: Any


def _other_settings() -> list[_Setting]:
    """List the settings that are not as they should be."""
    turn = sys.getswitchinterval()
    settings = [
        _Setting(torch.set_default_dtype, torch.get_default_dtype(), torch.float32),
        _Setting(sys.setswitchinterval, turn, min(turn, _TURN)),
    ]
    backends: Any = torch.backends
    if hasattr(backends, "fp32_precision"):
        for products, wanted in ((backends.mkldnn.matmul, _ON_CPU), (backends.cuda.matmul, "ieee")):
            found = products.fp32_precision
            if (found, wanted) != ("none", "ieee"):  # which are the same
                settings.append(_Setting(partial(setattr, products, "fp32_precision"), found, wanted))
    else:  # torch before 2.9
        found = torch.get_float32_matmul_precision()
        settings.append(_Setting(torch.set_float32_matmul_precision, found, "highest"))
    return [setting for setting in settings if setting.found != setting.wanted]


_lock = Lock()
_inside = 0  # calls that are in `_of_the_process`
_changed: list[_Setting] = []


@contextmanager
def _of_the_process() -> Iterator[None]:
    """Change the process's settings when the first call enters, and back when the last one leaves."""
    global _inside
    with _lock:
        if not _inside:
            _changed[:] = _other_settings()
            for setting in _changed:
                setting.write(setting.wanted)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for setting in _changed:
                    setting.write(setting.found)
