"""From the arguments of a verb to the settings of a fit."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
from anndata import AnnData

from .._anndata.reading import gene_names, read_mask
from .._record.keys import Keys
from .._record.parts import BEST
from .._record.record import Record, plain
from .._words.models import MODELS, model_name
from ..get._settings import FitSettings
from ..model.config import PROTOCOLS, FitConfig, Likelihood, ProtocolName


def asked(
    adata: AnnData,
    keys: Keys,
    *,
    models: Likelihood | Collection[Likelihood] = ("nb", "zinb"),
    protocol: ProtocolName = "default",
    config: Literal["tuned"] | None = None,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    check_counts: bool = True,
    batch_key: str | None = None,
    categorical_covariate_keys: str | Sequence[str] | None = None,
    continuous_covariate_keys: str | Sequence[str] | None = None,
    size_factor_key: str | None = None,
    split: Sequence[float] | str | None = None,
    n_draws: int = 25,
    layers: str | Sequence[str] = ("mean", "dropout"),
    layer_memory: float = 4.0,
    library: Literal["latent", "observed"] = "latent",
    max_epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    **of_config: Any,
) -> FitSettings:
    """Make settings of the arguments of `fit_nb_zinb`, with the same defaults.

    Parameters
    ----------
    **of_config
        Further fields of `FitConfig`.

    Raises
    ------
    ValueError, KeyError
        If genes cannot be chosen so; if ``config="tuned"`` and nothing was tuned, or what was tuned is given.
    """
    chosen, preset = in_order(models), PROTOCOLS[protocol]
    base = replace(
        preset.config,
        library=library if size_factor_key is None else "size_factor",
        max_epochs=preset.config.max_epochs if max_epochs is None else max_epochs,
        learning_rate=preset.config.learning_rate if learning_rate is None else learning_rate,
        batch_size=preset.config.batch_size if batch_size is None else batch_size,
        **of_config,
    )
    tuned = tuned_settings(adata, keys, chosen) if config == "tuned" else {}
    _refuse_untuned(base, preset.config, tuned)
    if split is None:
        split = keys.tuning_split if tuned else preset.shares
    return FitSettings(
        configs={name: replace(base, **tuned.get(name, {})) for name in chosen},
        genes=tuple(gene_names(adata)[read_mask(adata, mask_var)]),
        mask_var=mask_var if isinstance(mask_var, str) else None,
        layer=layer,
        check_counts=check_counts,
        batch_key=batch_key,
        categorical_covariate_keys=key_list(categorical_covariate_keys),
        continuous_covariate_keys=key_list(continuous_covariate_keys),
        size_factor_key=size_factor_key,
        protocol=protocol,
        split=split if isinstance(split, str) else tuple(split),
        epochs_by_size=base.max_epochs is None,
        batches_by_size=batch_size is None
        and protocol == "default"
        and not any("batch_size" in found for found in tuned.values()),
        n_draws=n_draws,
        layers=key_list(layers),
        layer_memory=layer_memory,
    )


def settings_among(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what `asked` takes among the arguments of a verb."""
    known = {*inspect.signature(asked).parameters, *(field.name for field in fields(FitConfig))}
    return {name: value for name, value in arguments.items() if name in known - {"adata", "keys"}}


def tuned_settings(
    adata: AnnData, keys: Keys, models: Sequence[Likelihood]
) -> dict[Likelihood, dict[str, Any]]:
    """Read the best settings that `tune` found for each model."""
    record = Record.read(adata, keys.key_added)
    best = record.get(BEST, {})
    for name in models:
        if name not in best:
            raise KeyError(
                f"config='tuned', but adata.uns[{keys.uns!r}] holds no tuning of the "
                f"{model_name(name)} model; "
                f"{record.hint('tune')}"
            )
    return {name: {setting: plain(value) for setting, value in best[name].items()} for name in models}


def _refuse_untuned(
    base: FitConfig, default: FitConfig, tuned: Mapping[Likelihood, Mapping[str, Any]]
) -> None:
    """ValueError for a setting that was given and that the tuned one would silently replace."""
    for found in tuned.values():
        for name in found:
            given = getattr(base, name)
            if given not in (getattr(default, name), *(of_model.get(name) for of_model in tuned.values())):
                raise ValueError(
                    f"{name} must be left out with config='tuned', which found {name}={found[name]!r}, "
                    f"found {given!r}."
                )


def in_order(models: Likelihood | Collection[Likelihood]) -> list[Likelihood]:
    """Put the models asked for in the order NB, ZINB."""
    return [name for name in MODELS if name in key_list(models)]


def key_list(keys: Collection[str] | str | None) -> tuple[str, ...]:
    """One key, several or none as a tuple."""
    return (keys,) if isinstance(keys, str) else () if keys is None else tuple(keys)
