"""What a fit was asked, in one record that is stored with it and taken up by every refit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from anndata import AnnData

from .._anndata.counts import Counts
from .._anndata.fitted_counts import fitted_counts
from .._record.keys import Keys
from .._record.parts import PARAMS
from .._record.record import Record, plain
from ..model.config import PROTOCOLS, FitConfig, Likelihood, Protocol, ProtocolName

FORMAT = 2  # 1, which is not told, was that of zinbtools 0.1.0


@dataclass(frozen=True)
class FitSettings:
    """All that a fit was asked, but for where it was computed and its seed.

    Attributes
    ----------
    configs
        How each model is built and trained, in the order NB, ZINB.
    genes
        Names of the genes that are fitted.
    mask_var
        The column of ``var`` that they were chosen by, if there was one.
    layer, check_counts
        Where the counts are, and whether numbers that are not whole are refused.
    batch_key, categorical_covariate_keys, continuous_covariate_keys, size_factor_key
        Columns of ``obs`` that the models are told.
    protocol
        The preset that the rest comes from.
    split
        Shares of training, validation and test cells, or a column of ``obs``.
    epochs_by_size, batches_by_size
        Whether ``max_epochs`` and ``batch_size`` follow from the number of training cells.
    n_draws, layers, layer_memory
        As for `tl.fit_nb_zinb`.
    """

    configs: Mapping[Likelihood, FitConfig]
    genes: tuple[str, ...]
    mask_var: str | None
    layer: str | None
    check_counts: bool
    batch_key: str | None
    categorical_covariate_keys: tuple[str, ...]
    continuous_covariate_keys: tuple[str, ...]
    size_factor_key: str | None
    protocol: ProtocolName
    split: tuple[float, ...] | str
    epochs_by_size: bool
    batches_by_size: bool
    n_draws: int
    layers: tuple[str, ...]
    layer_memory: float

    @property
    def models(self) -> list[Likelihood]:
        return list(self.configs)

    @property
    def common(self) -> FitConfig:
        """A config for what all models share, such as the cells that decide when to stop."""
        return next(iter(self.configs.values()))

    @property
    def preset(self) -> Protocol:
        return PROTOCOLS[self.protocol]

    def changed(self, **of_config: Any) -> FitSettings:
        """With other values in the config of every model."""
        return self.of_models({name: replace(config, **of_config) for name, config in self.configs.items()})

    def of_models(self, models: Sequence[Likelihood] | Mapping[Likelihood, FitConfig]) -> FitSettings:
        """For these models; one that was not asked for is like the first."""
        if not isinstance(models, Mapping):
            models = {name: self.configs.get(name, self.common) for name in models}
        return replace(self, configs=models)

    def of_part(self) -> FitSettings:
        """For some of the cells only: trained for as many epochs as suit their number, where this was so."""
        return self.changed(max_epochs=None) if self.epochs_by_size else self

    def counts(self, adata: AnnData, keys: Keys) -> Counts:
        """Read the counts that were fitted; ValueError if the AnnData holds other numbers by now."""
        return fitted_counts(adata, keys, self.genes, self.layer, self.check_counts)

    def stored(self) -> dict[str, Any]:
        """As values that files can hold, the config of the first model and in what others differ."""
        settings = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in _ELSEWHERE
        }
        by_model = {name: asdict(config) for name, config in self.configs.items()}
        first = asdict(self.common)
        differing = {
            name: {field: value for field, value in config.items() if value != first[field]}
            for name, config in by_model.items()
        }
        return {
            "format": FORMAT,
            **first,
            "settings_of": differing,
            "models": self.models,
            "var_names": list(self.genes),
            **settings,
            "split": self.split if isinstance(self.split, str) else np.array(self.split),
        }

    @classmethod
    def restored(cls, record: Record) -> FitSettings:
        """Read the settings of a fit that is there, whatever a file has made of lists and numbers.

        Raises
        ------
        KeyError
            If there is no fit.
        ValueError
            If something is missing, or a later zinbtools wrote it.
        """
        params = record[PARAMS]
        written = int(params.get("format", 1))
        if written > FORMAT:
            raise record.damaged(PARAMS, f" is of a later zinbtools, format {written}", "upgrade to read it.")
        absent = _ABSENT if written == FORMAT else _ABSENT | _BEFORE
        values = absent | {name: _tuples(plain(params[name])) for name in _NAMES if name in params}
        if written < FORMAT and values.get("protocol") not in PROTOCOLS:  # of an import, "scvi-tools"
            values["protocol"] = "default"
        _refuse_lacking(_NAMES, values, record)
        of_models = params.get("settings_of", {})
        return cls(
            configs={name: _config(params, of_models.get(name, {}), record) for name in record.models},
            genes=tuple(_fitted_names(params, record)),
            **values,
        )


_ELSEWHERE = ("configs", "genes")
_NAMES = [field.name for field in fields(FitSettings) if field.name not in _ELSEWHERE]
# what is None or empty is not stored
_ABSENT: dict[str, Any] = {
    **dict.fromkeys(("mask_var", "layer", "batch_key", "size_factor_key")),
    **dict.fromkeys(("categorical_covariate_keys", "continuous_covariate_keys", "layers"), ()),
    "batches_by_size": False,  # of a fit before there was a choice
}
_BEFORE: dict[str, Any] = {  # what format 1 does not tell
    "check_counts": True,
    "split": PROTOCOLS["default"].shares,
    "epochs_by_size": False,
    "layers": ("mean", "dropout"),
    "layer_memory": 4.0,
}


def _fitted_names(params: Mapping[str, Any], record: Record) -> list[str]:
    """Names of the genes that were fitted, in the fit's order; format 1 has the others beside them."""
    _refuse_lacking(["var_names"], params, record)
    names = np.atleast_1d(np.asarray(params["var_names"], dtype=object))  # zarr gives a dtype of its own
    mask = np.asarray(params.get("fitted_genes", np.ones(len(names), dtype=bool)), dtype=bool)
    if mask.shape != names.shape:
        what = f" holds {len(names)} var_names, but fitted_genes of shape {mask.shape}"
        raise record.damaged(PARAMS, what)
    return [str(name) for name in names[mask]]


def _config(params: Mapping[str, Any], of_model: Mapping[str, Any], record: Record) -> FitConfig:
    names = [field.name for field in fields(FitConfig)]
    _refuse_lacking(names, params, record)
    values = {name: params[name] for name in names} | dict(of_model)
    return FitConfig(**{name: plain(value) for name, value in values.items()})


def _refuse_lacking(names: Sequence[str], there: Mapping[str, Any], record: Record) -> None:
    for name in names:
        if name not in there:
            raise record.damaged(PARAMS, f" lacks {name!r}")


def _tuples(value: Any) -> Any:
    """A list or an array of strings or numbers as a tuple."""
    return value if np.ndim(value) == 0 else tuple(plain(item) for item in value)
