"""From an SCVI model of scvi-tools to the same function as a `CountVAE`; scvi-tools itself is not needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

import pandas as pd
import torch
from torch import Tensor, nn

from .._anndata.covariates import Covariates
from ..model.config import PROTOCOLS, FitConfig, Likelihood
from ..model.layers import NORM_EPS
from ..model.vae import MIN_VARIANCE, CountVAE, Shape


class Imported(NamedTuple):
    """A converted model, and what it was set up with."""

    model: CountVAE
    covariates: Covariates
    layer: str | None
    genes: pd.Index

    @property
    def likelihood(self) -> Likelihood:
        return self.model.likelihood


def convert(source: Any) -> Imported:
    """Rebuild an SCVI model, in evaluation mode; ValueError for what has no counterpart.

    Both networks are chains of an affine map, batch normalisation and ReLU. A bias before the normalisation
    is a shift of its running mean, a missing normalisation is one by mean 0 and variance 1, and what is not
    fed to a layer has weight 0.
    """
    missing = [name for name in ("module", "registry_", "adata") if getattr(source, name, None) is None]
    if missing:
        raise TypeError(
            "model must be an SCVI model with its AnnData, "
            f"found {type(source).__name__} without {missing[0]}."
        )
    module = source.module
    _refuse(module)
    arguments = source.registry_["setup_args"]
    covariates = _covariates(source.registry_, arguments)
    config = _config(module)
    shape = Shape(int(module.n_input), covariates.n_groups, covariates.n_columns)
    model = CountVAE(module.gene_likelihood, shape, config)
    model.load_state_dict(_weights(module, config, shape, len(covariates.continuous), model.state_dict()))
    return Imported(model.eval(), covariates, arguments["layer"], source.adata.var_names)


def _refuse(module: Any) -> None:
    """ValueError for options that a `CountVAE` does not have."""
    layers = [layer for layer in module.modules() if not list(layer.children())]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
    encoders = [module.z_encoder] if module.use_observed_lib_size else [module.z_encoder, module.l_encoder]
    hidden = {nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Softmax}
    other = {type(layer) for layer in layers} - hidden - {type(None)}
    takes_covariates = any(_maps(e.encoder)[0].in_features != module.n_input for e in encoders)
    reasons: Mapping[str, bool] = {
        f"gene_likelihood={module.gene_likelihood!r}": module.gene_likelihood not in ("nb", "zinb"),
        f"latent_distribution={module.latent_distribution!r}": module.latent_distribution != "normal",
        "log_variational=False": not module.log_variational,
        "dispersion='gene-label'": module.dispersion == "gene-label" and module.n_labels > 1,
        "size_factor_key, whose means are a softplus": bool(module.use_size_factor_key),
        "batch_representation='embedding'": module.batch_representation != "one-hot",
        "encode_covariates=True": takes_covariates,
        "another variance activation than exp": any(e.var_activation is not torch.exp for e in encoders),
        f"another var_eps than {MIN_VARIANCE}": any(e.var_eps != MIN_VARIANCE for e in encoders),
        f"another eps of its batch normalisation than {NORM_EPS}": any(
            norm.eps != NORM_EPS for norm in norms
        ),
        f"layers of type {', '.join(sorted(t.__name__ for t in other))}": bool(other),
    }
    for what, found in reasons.items():
        if found:
            raise ValueError(f"model has {what}, which has no counterpart in zinbtools.")


def _config(module: Any) -> FitConfig:
    return replace(
        PROTOCOLS["default"].config,
        n_latent=int(module.n_latent),
        n_hidden=int(module.n_hidden),
        n_layers=int(module.n_layers),
        norm_momentum=0.01,
        dispersion="gene" if module.dispersion == "gene-label" else module.dispersion,
        library="observed" if module.use_observed_lib_size else "latent",
    )


def _covariates(registry: Mapping[str, Any], arguments: Mapping[str, Any]) -> Covariates:
    """The columns that the model was set up with, in the order of its own codes."""
    fields = {name: field["state_registry"] for name, field in registry["field_registries"].items()}
    batch_key = arguments["batch_key"]
    categories = fields.get("extra_categorical_covs", {}).get("mappings", {})
    continuous = fields.get("extra_continuous_covs", {}).get("columns", [])
    return Covariates(
        batch_key=batch_key,
        batches=[] if batch_key is None else _strings(fields["batch"]["categorical_mapping"]),
        categorical={key: _strings(values) for key, values in categories.items()},
        continuous={str(key): (0.0, 1.0) for key in continuous},
    )


def _strings(values: Iterable[Any]) -> list[str]:
    return [str(value) for value in values]


def _weights(
    module: Any, config: FitConfig, shape: Shape, n_continuous: int, like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """State of the `CountVAE`, each array with its leading replicate axis."""
    state: dict[str, Tensor] = {}
    encoders = {"encoder": module.z_encoder}
    if config.library == "latent":
        encoders["library_encoder"] = module.l_encoder
        state["library_mean"] = module.library_log_means.view(-1)
        state["library_variance"] = module.library_log_vars.view(-1)
    else:
        state |= {name: like[name] for name in ("library_mean", "library_variance")}
    for name, encoder in encoders.items():
        state |= _chain(f"{name}.blocks", encoder.encoder)
        state |= _affine(f"{name}.mean", encoder.mean_encoder)
        state |= _affine(f"{name}.log_variance", encoder.var_encoder)
    decoder = module.decoder
    state |= _chain("decoder", decoder.px_decoder, config.n_latent, shape.n_covariates, n_continuous)
    state |= _affine("scale", decoder.px_scale_decoder[0])
    if module.gene_likelihood == "zinb":
        state |= _affine("dropout", decoder.px_dropout_decoder)
    if config.dispersion == "gene-cell":
        state |= _affine("dispersion", decoder.px_r_decoder)
    else:
        state["log_theta"] = module.px_r.reshape(shape.n_genes, -1).T[None]
    return {name: value.detach().cpu().float().contiguous() for name, value in state.items()}


def _chain(
    name: str, chain: Any, n_in: int | None = None, n_covariates: int = 0, n_continuous: int = 0
) -> dict[str, Tensor]:
    """Blocks of a chain whose covariates, if it takes any, are put in the order of `Covariates.matrix`.

    There the input is what comes from below, one-hot columns, continuous columns. scvi-tools has the
    continuous ones before the one-hot ones, and in the first layer alone.
    """
    state: dict[str, Tensor] = {}
    for i, layers in enumerate(chain.fc_layers):
        linear = _maps(chain)[i]
        weight = linear.weight
        n_below = weight.shape[1] if n_in is None else n_in
        below, rest = weight[:, :n_below], weight[:, n_below:]
        columns = weight.new_zeros(len(weight), n_covariates)
        n_one_hot = n_covariates - n_continuous
        if i == 0:
            columns[:, n_one_hot:], rest = rest[:, :n_continuous], rest[:, n_continuous:]
        if rest.shape[1]:
            columns[:, :n_one_hot] = rest
        state[f"{name}.{i}.linear.weight"] = torch.cat([below, columns], 1).T[None]
        norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
        has_bias = linear.bias is not None  # which torch's types do not say
        bias = linear.bias.detach().cpu() if has_bias else torch.zeros(len(weight))
        state |= _normalisation(f"{name}.{i}.norm", norms[0] if norms else None, bias)
        n_in = len(weight)
    return state


def _normalisation(name: str, norm: nn.BatchNorm1d | None, bias: Tensor) -> dict[str, Tensor]:
    """Batch normalisation of a map without the bias that it had."""
    ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
    if norm is None:
        values = {"weight": ones, "bias": bias, "running_mean": zeros, "running_var": ones - NORM_EPS}
    else:
        running = {k: cast(Tensor, v).detach().cpu() for k, v in norm.state_dict().items()}
        values = {
            "weight": running.get("weight", ones),
            "bias": running.get("bias", zeros),
            "running_mean": running["running_mean"] - bias,
            "running_var": running["running_var"],
        }
    return {f"{name}.{what}": value[None] for what, value in values.items()}


def _affine(name: str, linear: nn.Linear) -> dict[str, Tensor]:
    return {f"{name}.weight": linear.weight.T[None], f"{name}.bias": linear.bias[None, None]}


def _maps(chain: Any) -> list[nn.Linear]:
    """The affine map of each layer."""
    return [next(layer for layer in layers if isinstance(layer, nn.Linear)) for layers in chain.fc_layers]
