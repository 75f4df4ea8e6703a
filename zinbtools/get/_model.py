"""The fitted models, rebuilt from the arrays in the AnnData, and what they say of any block of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from torch import Tensor

from .._anndata.reading import checked_column, gene_names
from .._check.arguments import checked
from ..jobs.threads import single_threaded
from ..model.predictive import Expectation, expectations
from ..model.vae import CountVAE
from ._fitted import Fitted, resolve_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["mean", "dropout", "zero"]


@checked
@single_threaded()
def model(
    adata: AnnData,
    model: Literal["nb", "zinb"],
    *,
    restart: int | None = None,
    device: str = "cpu",
    key: str | None = None,
) -> CountVAE:
    """Rebuild a fitted model from the arrays in ``uns``.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run, also read back from a file.
    restart
        Which restart; the one of best validation ELBO by default.

    Returns
    -------
    A torch module in evaluation mode, with one replicate.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If the model was not fitted.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> zt.get.model(adata, "zinb").likelihood
    'zinb'
    """
    return Fitted.read(adata, key).load(model, resolve_device(device), restart)


@checked
@single_threaded()
def expected_counts(
    adata: AnnData,
    *,
    model: Literal["nb", "zinb"] = "zinb",
    kind: Kind = "mean",
    obs: Sequence[str] | np.ndarray | None = None,
    var: Sequence[str] | np.ndarray | None = None,
    device: str = "auto",
    key: str | None = None,
) -> pd.DataFrame:
    """Compute what a model expects of a block of cells and genes, averaged over the fit's posterior draws.

    Parameters
    ----------
    kind
        ``"mean"``: mean of the NB part, counts, as in ``layers["zinb_mean"]``. ``"dropout"``: dropout
        probability, as in ``layers["zinb_dropout"]``. ``"zero"``: probability of a zero, dropout included.

    Returns
    -------
    Cells x genes, float32; the values of the layers where the AnnData has the cells that were fitted, in
    their order. NaN for genes that were not fitted.

    Raises
    ------
    KeyError
        If there is no fit, or a name is not in the AnnData.
    ValueError
        If the model was not fitted, or the kind is not known.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> block = zt.get.expected_counts(adata, obs=adata.obs_names[:3], var=adata.var_names[:2])
    >>> bool(np.allclose(block, adata.layers["zinb_mean"][:3, :2]))
    True
    """
    return next(_blocks(adata, model, [attrgetter(kind)], obs, var, device, key))


@checked
@single_threaded()
def posterior_dropout(
    adata: AnnData,
    *,
    obs: Sequence[str] | np.ndarray | None = None,
    var: Sequence[str] | np.ndarray | None = None,
    device: str = "auto",
    key: str | None = None,
) -> pd.DataFrame:
    """Compute the probability that a zero is a dropout, ``pi / (pi + (1 - pi) NB(0))``, averaged over draws.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run with the ZINB.

    Returns
    -------
    Cells x genes, float32; 0 where the count is positive, NaN for genes that were not fitted.

    Raises
    ------
    KeyError
        If there is no fit, or a name is not in the AnnData.
    ValueError
        If the ZINB was not fitted.

    Notes
    -----
    One minus it is the weight of an observation in an NB regression of the gene, as for differential
    expression: the probability that the entry is no dropout, ``(1 - pi) NB(0) / ZINB(0)`` of a zero and 1 of
    a count (Van den Berge et al. 2018). Where nothing is lost a ZINB still finds some dropout: weigh only the
    genes that `zinbtools.tl.zi_scores` calls zero-inflated, and nothing changes in the others.

    References
    ----------
    Van den Berge et al. (2018), Observation weights unlock bulk RNA-seq tools for zero inflation and
    single-cell transcriptomics, Genome Biology 19.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, progress=False)
    >>> p = zt.get.posterior_dropout(adata, var=adata.var_names[:5])
    >>> bool((p.to_numpy()[adata.X[:, :5].toarray() > 0] == 0).all())
    True

    Weights of all entries as a layer, 1 in genes that are not called:

    >>> zt.tl.zi_scores(adata)
    >>> called = (adata.var["zi_call"] == "zero-inflated").to_numpy()
    >>> import numpy as np
    >>> adata.layers["weights"] = np.where(called, 1 - zt.get.posterior_dropout(adata), 1.0)

    with which statsmodels compares two groups of cells in a gene, at a dispersion ``alpha`` (choose it by
    the likelihood of the fit, as ``tests/benchmarks/weights.py`` does)::

        design = sm.add_constant((adata.obs["cell_type"] == "2").astype(float).to_numpy())
        family = sm.families.NegativeBinomial(alpha=0.5)
        counts = adata[:, gene].X.toarray().ravel()
        weights = adata[:, gene].layers["weights"].ravel()
        fit = sm.GLM(counts, design, family=family, freq_weights=weights, offset=np.log(depth)).fit()
    """
    return next(_blocks(adata, "zinb", [_dropout_of_zeros], obs, var, device, key))


@single_threaded()
def zero_probabilities(adata: AnnData, key: str | None) -> Iterator[pd.DataFrame]:
    """Compute `expected_counts` of kind "zero" and `posterior_dropout` of all entries from the same draws."""
    return _blocks(adata, "zinb", [attrgetter("zero"), _dropout_of_zeros], None, None, "auto", key)


@single_threaded()
def of_fitted_cells(
    adata: AnnData, model: Literal["nb", "zinb"], kinds: Sequence[Kind], genes: np.ndarray, key: str | None
) -> list[NDArray[np.float32]]:
    """Compute `expected_counts` of several kinds, for the cells of the fit alone; NaN for others."""
    split = checked_column(adata.obs, Fitted.read(adata, key).keys.split, "split", "obs")
    seen, columns = split.notna().to_numpy(), np.isin(np.arange(adata.n_vars), genes)
    blocks = _blocks(adata, model, [attrgetter(kind) for kind in kinds], seen, columns, "auto", key)
    found = []
    for block in blocks:
        values = np.full((adata.n_obs, len(genes)), np.nan, dtype=np.float32)
        values[seen] = block
        found.append(values)
    return found


def _dropout_of_zeros(block: Expectation) -> Tensor:
    return block.posterior_dropout * block.is_zero


def _blocks(
    adata: AnnData,
    model: Literal["nb", "zinb"],
    values: Sequence[Callable[[Expectation], Tensor]],
    obs: Sequence[str] | np.ndarray | None,
    var: Sequence[str] | np.ndarray | None,
    device: str,
    key: str | None,
) -> Iterator[pd.DataFrame]:
    """Compute rows and columns of matrices from the weights, block of cells by block of cells."""
    fit = Fitted.read(adata, key)
    where = resolve_device(device)
    rebuilt = fit.load(model, where)
    rows, columns = _positions(adata.obs_names, obs, "obs"), _positions(gene_names(adata), var, "var")
    counts = fit.data(adata, where)
    place_among_fitted = pd.Index(fit.genes(adata)).get_indexer(pd.Index(columns))
    fitted = place_among_fitted >= 0
    results = np.full((len(values), len(rows), len(columns)), np.nan, dtype=np.float32)
    for block in expectations(rebuilt, counts, n_draws=fit.settings.n_draws, seed=fit.draw_seed, cells=rows):
        cells = block.cells.numpy(force=True)
        here = np.flatnonzero(np.isin(rows, cells))
        into, out_of = (
            np.ix_(here, np.flatnonzero(fitted)),
            np.ix_(rows[here] - cells[0], place_among_fitted[fitted]),
        )
        for result, value in zip(results, values, strict=True):
            result[into] = value(block).numpy(force=True)[out_of]
    return (pd.DataFrame(r, adata.obs_names[rows], adata.var_names[columns]) for r in results)


def _positions(names: pd.Index, wanted: Sequence[str] | np.ndarray | None, axis: str) -> np.ndarray:
    """Return the positions of names, or of the True entries of a boolean array."""
    if wanted is None:
        return np.arange(len(names))
    chosen = np.asarray(wanted)
    if chosen.dtype == bool:
        if chosen.shape != names.shape:
            raise ValueError(f"{axis} must be boolean of length {len(names)}, found shape {chosen.shape}.")
        return np.flatnonzero(chosen)
    if not names.is_unique:
        raise ValueError(f"{axis} must be a boolean array where {axis}_names are not unique, found names.")
    positions = names.astype(str).get_indexer(pd.Index(chosen.astype(str)))
    if (positions < 0).any():
        raise KeyError(f"{axis}: {str(chosen[positions < 0][0])!r} is not in adata.{axis}_names.")
    return positions
