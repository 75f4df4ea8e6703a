"""`consequences`: what changes for the user between the models, and whether more than between seeds."""

from __future__ import annotations

import random as pythons
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.reading import check_anndata, checked_column
from .._anndata.results import storable, target_of
from .._check.arguments import checked
from .._check.rng import RNG, generator
from .._record.parts import CONSEQUENCES, CONSEQUENCES_MEASURES, CONSEQUENCES_PAIRS
from .._words.models import MODELS
from .._words.numbers import percent
from ..get._fitted import Fitted, resolve_device
from ..jobs.threads import available_threads, single_threaded
from ..model.config import Likelihood
from ..model.data import CountData
from ..model.predictive import embedding, expectations
from ..stats.agreement import (
    Compared,
    Floats,
    Integers,
    adjusted_rand,
    compare,
    nearest,
    overlap,
    ward_clusters,
)
from ._added import says_what_it_added

MEASURES = ("neighbours", "clusters", "variable genes", "markers")
_GENES_AT_ONCE = 128
_SHARED = {
    "neighbours": "{} of the nearest neighbours",
    "clusters": "{} agreement of the clusters (adjusted Rand index)",
    "variable genes": "{} of the variable genes",
    "markers": "{} of the markers",
}


class _Account(NamedTuple):
    """What one restart says of the cells: what a user would take from it."""

    neighbours: Integers
    clusters: Integers
    variable: Integers
    markers: Integers


@checked
@says_what_it_added
@single_threaded()
def consequences(
    adata: AnnData,
    *,
    groupby: str | None = None,
    n_neighbors: int = 15,
    clustering: Literal["ward", "leiden"] = "ward",
    n_clusters: int = 8,
    n_top_genes: int | None = None,
    cells: int = 2000,
    alpha: float = 0.05,
    device: str = "auto",
    rng: RNG = 0,
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Say what changes downstream if the ZINB is taken for the NB, beside what another seed changes.

    From every restart of both models is taken what a user takes from a model: the nearest neighbours of each
    cell and clusters in the latent space, the genes whose expected counts vary most over cells, and
    the genes that mark each group of cells. Two restarts share a part of them. If restarts of different
    models share as much as restarts of the same do, then what changes with the model is what changes with the
    seed.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.fit_nb_zinb` was run with both models and some restarts; at an
        ``alpha`` of .05 four or more of each can tell.
    groupby
        Column of ``obs`` with the groups of which markers are sought; Ward's tree is cut into as many. By
        default the clusters of the best NB.
    n_neighbors
        Nearest neighbours of a cell.
    clustering
        ``"ward"`` cuts Ward's tree of the cells; ``"leiden"`` finds communities of the graph of nearest
        neighbours (modularity, at a resolution of 1), as many as there are, and needs igraph.
    n_clusters
        Clusters that Ward's tree is cut into, without ``groupby``.
    n_top_genes
        Variable genes: a tenth of all by default, 10 to 2,000. Each group has a fifth as many markers, 5 at
        least: those of largest log fold change against the other cells.
    cells
        At most so many, drawn at random.
    alpha
        Level of the test below, of all four measures together.
    rng
        Seed of the draw of the cells.

    Returns
    -------
    ``None``, or the copy. Sets ``uns["zinbtools"]["consequences"]``: ``measures`` and ``pairs``, the tables
    of `zinbtools.get.consequences_df`, ``position``, ``sentence`` and ``params``. The position is

    ``inside``
        the models differ no more than seeds do,
    ``outside``
        they differ more in some measure: a p value of up to ``alpha``, where the restarts are dealt out to
        the models anew in all ways (Westfall and Young 1993), or
    ``undecided``
        so few restarts cannot tell.

    Raises
    ------
    KeyError
        If there is no fit, or no such column.
    ValueError
        If one of the models was not fitted or has one restart only, or there are too few cells.
    ImportError
        If igraph is not installed, with ``clustering="leiden"``.

    Notes
    -----
    Restarts of the same number begin with the same weights in both models, and are not compared.

    A difference beyond that of seeds need not matter; the sentence says how large it is. One within that of
    seeds is no praise: where seeds agree little, neither model can be relied on.

    Leiden finds other numbers of clusters in other restarts, which is part of what seeds change. Most scanpy
    workflows use it; Ward's tree needs no graph and no random numbers.

    References
    ----------
    Traag, Waltman and van Eck (2019), From Louvain to Leiden, Scientific Reports 9.
    Westfall and Young (1993), Resampling-based multiple testing, Wiley.
    Hubert and Arabie (1985), Comparing partitions, Journal of Classification 2.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, n_restarts=4, progress=False)
    >>> zt.tl.consequences(adata, groupby="cell_type")
    >>> adata.uns["zinbtools"]["consequences"]["position"] in {"inside", "outside"}
    True
    """
    check_anndata(adata, copy)
    fit = Fitted.read(adata, key)
    restarts = [(model, restart) for model in MODELS for restart in _restarts(fit, model)]
    random = generator(rng)
    chosen = np.sort(random.permutation(adata.n_obs)[:cells])
    if len(chosen) <= max(n_neighbors, n_clusters):
        raise ValueError(
            f"{len(chosen)} cells are too few for n_neighbors={n_neighbors} and n_clusters={n_clusters}."
        )
    part = adata[chosen]
    groups = None
    if groupby is not None:
        groups = checked_column(part.obs, groupby, "groupby", "obs").astype(str).to_numpy()
        n_clusters = len(np.unique(groups))
        if n_clusters < 2:
            raise ValueError(f"groupby must name at least 2 groups, found 1 in {groupby!r}.")
    data = fit.data(part, resolve_device(device))
    latent = {r: embedding(fit.load(r[0], data.device, r[1]), data) for r in restarts}
    neighbours = {r: nearest(z, n_neighbors) for r, z in latent.items()}
    if clustering == "ward":
        clusters = {r: ward_clusters(z, n_clusters) for r, z in latent.items()}
    else:
        seed = int(random.integers(2**31))
        clusters = {r: _leiden_clusters(of_cells, seed) for r, of_cells in neighbours.items()}
    if groups is None:
        groups = clusters["nb", fit.best_restart("nb")]
    n_top = min(n_top_genes or min(max(data.n_genes // 10, 10), 2000), data.n_genes)
    accounts = [_Account(neighbours[r], clusters[r], *_genes(fit, r, data, groups, n_top)) for r in restarts]
    agreement = np.ones((len(MEASURES), len(restarts), len(restarts)))
    for a, b in combinations(range(len(restarts)), 2):
        # restarts of a number begin with the same weights
        alike = restarts[a][1] == restarts[b][1]
        shared = (np.nan,) * len(MEASURES) if alike else _agreement(accounts[a], accounts[b])
        agreement[:, a, b] = agreement[:, b, a] = shared
    found = compare(agreement, sum(model == "nb" for model, _ in restarts), random)
    position = _position(float(found.pval.min()), found.least_pval, alpha)
    target = target_of(adata, copy)
    target.uns[fit.keys.uns][CONSEQUENCES.name] = {
        CONSEQUENCES_MEASURES.name: _measures(found, alpha),
        CONSEQUENCES_PAIRS.name: _pairs(restarts, agreement),
        "position": position,
        "sentence": _sentence(found, position, alpha, len(restarts) // 2),
        "params": storable(
            {
                "groupby": groupby,
                "n_neighbors": n_neighbors,
                "clustering": clustering,
                "n_clusters": n_clusters,
                "n_top_genes": n_top,
                "n_cells": len(chosen),
                "alpha": alpha,
            }
        ),
    }
    return target if copy else None


def _restarts(fit: Fitted, model: Likelihood) -> list[int]:
    if model not in fit.models:
        raise ValueError(f"consequences needs both models, found {', '.join(fit.models)} alone.")
    found = fit.restarts(model)
    if len(found) < 2:
        raise ValueError(
            f"consequences needs at least 2 restarts of each model (4 to tell at an alpha of .05), found "
            f"{len(found)} of the {model}; fit with n_restarts=4."
        )
    return found


def _leiden_clusters(neighbours: Integers, seed: int) -> Integers:
    """Find communities of the graph of nearest neighbours, (n,) from (n, k)."""
    try:
        import igraph
    except ImportError as error:
        raise ImportError("clustering='leiden' needs igraph: pip install igraph.") from error
    edges = {(min(a, b), max(a, b)) for a, row in enumerate(neighbours.tolist()) for b in row}
    igraph.set_random_number_generator(pythons.Random(seed))
    try:
        found = igraph.Graph(len(neighbours), sorted(edges)).community_leiden("modularity", n_iterations=-1)
    finally:
        igraph.set_random_number_generator(pythons)  # igraph's default
    return np.array(found.membership, dtype=np.int64)


def _genes(
    fit: Fitted, restart: tuple[Likelihood, int], data: CountData, groups: np.ndarray, n_top: int
) -> tuple[Integers, Integers]:
    """Return the most variable genes, (1, n_top), and the markers of each group, (n_groups, n)."""
    name, number = restart
    model = fit.load(name, data.device, number)
    blocks = expectations(
        model,
        data,
        n_draws=fit.settings.n_draws,
        seed=fit.draw_seed,
        n_threads=available_threads(data.device),
    )
    level: Floats = np.empty((data.n_cells, data.n_genes))
    for block in blocks:
        level[block.cells.numpy(force=True)] = block.mean.numpy(force=True)
    level /= level.sum(axis=1, keepdims=True)
    level += 1e-12
    np.log(level, out=level)
    # a variance copies what it is of, and so does an index
    some = np.array_split(level, -(-data.n_genes // _GENES_AT_ONCE), axis=1)
    variance = np.concatenate([of_some.var(axis=0) for of_some in some])
    variable = np.argsort(-variance, kind="stable")[:n_top]
    n_markers = min(max(n_top // 5, 5), data.n_genes)
    markers = []
    for group in np.unique(groups):
        inside = (groups == group)[:, None]
        change = level.mean(axis=0, where=inside) - level.mean(axis=0, where=~inside)
        markers.append(np.argsort(-change, kind="stable")[:n_markers])
    return variable[None], np.array(markers)


def _agreement(first: _Account, second: _Account) -> tuple[float, ...]:
    return (
        overlap(first.neighbours, second.neighbours),
        adjusted_rand(first.clusters, second.clusters),
        overlap(first.variable, second.variable),
        overlap(first.markers, second.markers),
    )


def _position(pval: float, least_pval: float, alpha: float) -> str:
    if pval <= alpha:
        return "outside"
    return "inside" if least_pval <= alpha else "undecided"


def _measures(found: Compared, alpha: float) -> pd.DataFrame:
    positions = [_position(pval, found.least_pval, alpha) for pval in found.pval]
    columns = (MEASURES, *found.within.T, found.between, found.pval, positions)
    return pd.DataFrame(dict(zip(CONSEQUENCES_MEASURES.holds, columns, strict=True)))


def _pairs(restarts: list[tuple[Likelihood, int]], agreement: Floats) -> pd.DataFrame:
    rows = [
        (measure, *restarts[a], *restarts[b], agreement[m, a, b])
        for m, measure in enumerate(MEASURES)
        for a, b in combinations(range(len(restarts)), 2)
        if np.isfinite(agreement[m, a, b])
    ]
    return pd.DataFrame(rows, columns=list(CONSEQUENCES_PAIRS.holds))


def _sentence(found: Compared, position: str, alpha: float, n_restarts: int) -> str:
    """Say what changes with the model, in the measures that stand out, or in the nearest neighbours."""

    def shared(m: int) -> str:
        name = MEASURES[m]
        told = _SHARED[name].format(_share(name, found.between[m]))
        return f"{told} between the models, {_share(name, found.within[m].mean())} between seeds of the same"

    if position == "outside":
        told = "; ".join(shared(m) for m in np.flatnonzero(found.pval <= alpha).tolist())
        return f"The choice of the model changes more than another seed does: {told}."
    if position == "inside":
        return f"The choice of the model changes no more than another seed does: {shared(0)}."
    few = f"cannot be told from {n_restarts} restarts"
    return f"Whether the choice of the model changes more than another seed does {few}: {shared(0)}."


def _share(measure: str, value: float) -> str:
    return f"{value:.2f}" if measure == "clusters" else percent(float(value))
