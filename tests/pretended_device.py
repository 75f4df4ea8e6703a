"""A device that is none: tensors say that they are on it, and are kept on the host.

It holds torch to what a true one asks, and to more: whoever mixes tensors of the device with some of the
host, other than by an explicit transfer, is refused; what makes the host wait is counted.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

_TRANSFERS = {"_to_copy", "copy_"}
_READ = {
    "_linalg_check_errors",
    "_local_scalar_dense",
    "equal",
    "masked_select",
    "nonzero",
    "unique_dim",
    "_unique2",
}
_BY_MASK = {"index", "index_put", "index_put_", "_index_put_impl_"}

NAME = "pretended"

if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch takes no device that is written in Python", allow_module_level=True)


class _Module(backend_registration._DummyBackendModule):
    def is_available(self) -> bool:
        return False  # to who looks for any device


class _Hook(backend_registration._DummyPrivateUse1Hook):
    def is_available(self) -> bool:
        return False


# Before anything is differentiated: torch starts its threads, one for each device, only once. And pytest may
# import this file twice.
if not hasattr(torch, NAME):
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module(), _Hook())
DEVICE = torch.device(NAME, 0)


class DeviceTensor(Tensor):
    """A tensor that says it is on the device; ``held``, on the host, has its values."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> DeviceTensor:
        assert type(held) is Tensor
        return Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{function} where no device is pretended")

    # torch has no way from such a tensor to what is written in C

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: DeviceTensor) -> None:
        Tensor.data.__set__(self, value)
        self.held = value.held

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("a tensor of the device is no array")
        return self.detach().cpu().numpy()

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a tensor of the device is no array")

    def __deepcopy__(self, memo: dict[int, Any]) -> DeviceTensor:
        twin = self.detach().clone().requires_grad_(self.requires_grad)
        for name, value in vars(self).items():
            if name != "held":
                setattr(twin, name, copy.deepcopy(value, memo))
        memo[id(self)] = twin
        return twin


class Pretended(TorchDispatchMode):
    """What the device was asked for, while the mode lasts.

    Attributes
    ----------
    launches, waits
        How often each operation ran on the device, and how often each made the host wait for it.
    uploads
        Tensors that were copied to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.waits, self.uploads = Counter[str](), Counter[str](), 0

    def forget(self) -> None:
        """Start counting anew."""
        self.launches.clear()
        self.waits.clear()
        self.uploads = 0

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function.overloadpacket.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = [tensor for tensor in given if isinstance(tensor, DeviceTensor)]
        wanted = kwargs.get("device")
        if not on_device and (wanted is None or wanted.type == "cpu"):
            return function(*args, **kwargs)
        if name in _TRANSFERS:
            self._transfer(name, args, wanted)
        else:
            self._refuse_mixed(name, given, on_device)
            if self._waits(name, args, kwargs):
                self.waits[name] += 1
        self.launches[name] += not function.is_view
        to_host = name == "_to_copy" and wanted is not None and wanted.type == "cpu"
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        if name == "_to_copy" and not to_host:  # which for the host's tensors would be none
            kwargs.setdefault("device", torch.device("cpu"))
        known = {id(tensor.held): tensor for tensor in on_device}
        plain_args, plain_kwargs = tree_map_only(DeviceTensor, lambda t: t.held, (args, kwargs))
        found = function(*plain_args, **plain_kwargs)
        if to_host or (name == "copy_" and not isinstance(args[0], DeviceTensor)):
            return args[0] if name == "copy_" else found
        return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else DeviceTensor(t), found)

    def _transfer(self, name: str, args: Any, wanted: torch.device | None) -> None:
        if name == "copy_":
            to, source = (isinstance(tensor, DeviceTensor) for tensor in args[:2])
        else:
            source = isinstance(args[0], DeviceTensor)
            to = source if wanted is None else wanted.type == NAME
        self.uploads += to and not source
        if source and not to:
            self.waits["to the host"] += 1

    @staticmethod
    def _refuse_mixed(name: str, given: list[Tensor], on_device: list[DeviceTensor]) -> None:
        strangers = [tensor for tensor in given if not isinstance(tensor, DeviceTensor)]
        if on_device and any(tensor.ndim for tensor in strangers):
            raise AssertionError(f"{name} mixes tensors of the device and of the host")

    @staticmethod
    def _waits(name: str, args: Any, kwargs: Any) -> bool:
        if name in _BY_MASK:
            return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        if name == "repeat_interleave":
            return kwargs.get("output_size") is None
        return name in _READ


class _Generator(torch.Generator):
    """One for the host, whatever it was asked for."""

    def __new__(cls, device: torch.device | str = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")


@contextmanager
def pretended_device() -> Iterator[Pretended]:
    """Pretend that there is the device."""
    with mock.patch("torch.Generator", _Generator), Pretended() as pretended:
        yield pretended
