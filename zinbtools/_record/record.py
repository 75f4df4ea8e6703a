"""Read what the verbs left in an AnnData, and say which verb to run for what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from .._words.models import MODELS
from .keys import Keys
from .parts import FIT, PARAMS, WEIGHTS, Part

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_REMEDY = "take the file as zinbtools wrote it, or fit again."
# Verbs that begin a record, and say under which name: by ``key_added`` where the others have ``key``.
_BEGINNINGS = {FIT, "model_selection", "tune", "zero_test", "reads_per_molecule"}


@dataclass(frozen=True, eq=False)
class Record:
    """What the verbs left in an AnnData under one key: parts of ``uns`` by index, columns and layers by name.

    Attributes
    ----------
    adata
        Where it is, possibly as a stranger's file had it.
    keys
        The names of it all.
    uns
        What ``adata.uns`` held at the time: a later fit takes nothing away from it.
    """

    adata: AnnData
    keys: Keys
    uns: Mapping[str, Any]

    @classmethod
    def read(cls, adata: AnnData, key: str | None = None) -> Self:
        """Look under a key, where there need not be anything; ValueError if the object is transposed."""
        keys = Keys(key)
        if keys.split in adata.var and keys.split not in adata.obs:
            raise ValueError(
                f"adata is transposed: the fit wrote {keys.split!r} of each cell, and it is in adata.var; "
                "give adata.T."
            )
        return cls(adata, keys, dict(adata.uns))

    @property
    def is_imported(self) -> bool:
        """Whether another software trained the models."""
        return "trained_by" in self[PARAMS]

    def __contains__(self, part: Part) -> bool:
        return part.name in self._around(part)

    def __getitem__(self, part: Part) -> Any:
        """Return a part itself, no copy.

        Raises
        ------
        KeyError
            If it is not there, with the verb that writes it.
        ValueError
            If it lacks a column or an entry that the verb always writes.
        """
        if part not in self:
            raise KeyError(f"{self._hole(part)}; {self.hint(part.verb, part.asked)}")
        found = self._around(part)[part.name]
        if not isinstance(found, Mapping) and not hasattr(found, "columns"):
            raise self.damaged(part, " is no table or dictionary")
        for name in part.holds:
            if name not in found:
                raise self.damaged(part, f" lacks {name!r}")
        return found

    def get(self, part: Part, default: Any = None) -> Any:
        """Return a part, or the default where it is not there."""
        if part not in self:
            return default
        return self[part]

    @property
    def models(self) -> list[Literal["nb", "zinb"]]:
        """The fitted models, in the order NB, ZINB."""
        return [model for model in MODELS if model in np.atleast_1d(self[PARAMS]["models"])]

    def best_restart(self, model: str) -> int:
        """Return the restart of highest validation ELBO."""
        best = self[PARAMS]["best_restart"]
        if not isinstance(best, Mapping) or model not in best:
            raise self.damaged(PARAMS, f"['best_restart'] lacks {model!r}")
        return int(best[model])

    def column(self, axis: Literal["obs", "var"], name: str, verb: str) -> NDArray[np.float64]:
        """Return a numeric column of ``obs`` or ``var``; KeyError with the verb where there is none."""
        frame = getattr(self.adata, axis)
        if name not in frame:
            raise KeyError(f"adata.{axis} has no column {name!r}; {self.hint(verb)}")
        return frame[name].to_numpy(dtype=np.float64)

    def damaged(self, part: Part, what: str, remedy: str = _REMEDY) -> ValueError:
        """Return the error for a part that no verb left like this; it may come from anybody's file."""
        return ValueError(f"{self._place(part)}[{part.name!r}]{what}; {remedy}")

    def hint(self, verb: str, asked: str = "") -> str:
        """Say which call writes what is missing.

        Examples
        --------
        >>> Record(None, Keys("run2"), {}).hint("ppc", "checks='pit'")
        "run zt.tl.ppc(adata, checks='pit', key='run2') first."
        """
        name, key = "key_added" if verb in _BEGINNINGS else "key", self.keys.key_added
        arguments = ["adata", asked, f"{name}={key!r}" if key else ""]
        return f"run zt.tl.{verb}({', '.join(filter(None, arguments))}) first."

    def _around(self, part: Part) -> Mapping[str, Any]:
        """The dictionary that a part lies in, empty where there is none."""
        found: Any = self.uns
        for name in self._path(part):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def _path(self, part: Part) -> list[str]:
        own = {"zero_test": self.keys.zero_test, "reads_per_molecule": self.keys.reads}
        if part.within in own:
            return [own[part.within]]
        return [self.keys.uns, part.within] if part.within else [self.keys.uns]

    def _place(self, part: Part) -> str:
        return "adata.uns" + "".join(f"[{name!r}]" for name in self._path(part))

    def _hole(self, part: Part) -> str:
        """Say what is not there: the part, that which it lies in, or all of the fit."""
        around = self._around(part)
        if part.verb == FIT and not {PARAMS.name, WEIGHTS.name} <= set(around):
            return f"{self._place(part)} holds no fit"
        *outer, within = self._path(part)
        if outer and not around:
            return f"adata.uns[{self.keys.uns!r}] holds no {within!r}"
        return f"{self._place(part)} holds no {part.name!r}"


def plain(value: Any) -> Any:
    """Return a number as Python has it, where a file gives numpy's scalars back."""
    return value.item() if isinstance(value, np.generic) else value
