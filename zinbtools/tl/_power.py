"""`power`: how many cells a call of a gene and the verdict would take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy
import torch
from anndata import AnnData

from .._anndata.reading import check_anndata, gene_names
from .._anndata.results import spread, storable, target_of
from .._check.arguments import checked
from .._record.parts import DIFFERENCES, POWER, POWER_GENES, POWER_NEEDED, POWER_VERDICT, SELECTION
from .._words.answers import Call
from ..get._fitted import Fitted, resolve_device
from ..jobs.threads import single_threaded
from ..stats.count_models import fit_counts
from ..stats.crossed import CrossedMean
from ..stats.power import (
    LikeMeans,
    PilotCalls,
    SignedRoot,
    expected_verdict_power,
    fewest,
    signed_root,
    verdict_power,
)
from ._added import says_what_it_added
from ._columns import Means, with_counts
from ._conditional import check_nb
from ._copies import SMALLEST_MEAN, expected_means

_GROWTH = 2.0 ** np.arange(-4, 13)  # of the pilot's cells: where the level of the calls is computed


@checked
@says_what_it_added
@single_threaded()
def power(
    adata: AnnData,
    *,
    n_cells: Sequence[int] | None = None,
    n_restarts: Sequence[int] = (3, 5, 10, 20),
    depth: Sequence[float] = (1.0,),
    dropout: Sequence[float] = (0.1,),
    genes: Sequence[str] | None = None,
    difference: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    negligible_dropout: float = 0.01,
    device: str = "auto",
    key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Say how many cells, and what depth, would decide: for the calls of genes, and for the verdict.

    What is there is the pilot. GENES: counts with the means that the NB network expects of the pilot's cells,
    and the gene's own scale and dispersion, lose a share that is asked about; how far they then are from the
    nearest NB with a negligible dropout gives the law of the test's likelihood ratio
    (`zinbtools.stats.power.signed_root`). The p value that is called is that of Benjamini and Hochberg's
    procedure, with as many calls as the pilot's p values promise for that many cells. The VERDICT: the
    interval of the gain narrows with test cells and restarts as the pilot's components of variance say
    (`zinbtools.stats.power.verdict_power`).

    Networks that are trained on more cells are better, which is not in the numbers, and of the verdict it is
    the position of the interval alone that is foretold.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.model_selection` was run, or `zinbtools.tl.zi_scores`, after which
        nothing is said of the verdict.
    n_cells
        Numbers of cells, those for training and validation included; by default half as many as there are,
        and up to 32 times.
    n_restarts
        Of the verdict.
    depth
        Factors of all means, for genes alone.
    dropout
        Dropout probabilities above ``negligible_dropout``, whose power is that of being called
        zero-inflated; and 0, whose power is that of being called negligible.
    genes
        Names of genes; by default all that were fitted.
    difference
        A true gain of the ZINB, nats per cell, in the place of the pilot's.
    power
        The power for which the number of cells is said.

    Returns
    -------
    ``None``, or the copy. Sets ``uns["zinbtools"]["power"]``, which `zinbtools.get.power_df` reads, with the
    tables ``needed`` and ``genes``, and ``verdict`` after a `zinbtools.tl.model_selection`; and
    ``var["zi_cells_needed"]``: for a gene whose call is undecided, the number of cells that decide it with
    that power if its dropout is as it is estimated, infinite beyond a billion; NaN for all others.

    Raises
    ------
    KeyError
        If there is no fit or no such gene, or genes were not tested.
    ValueError
        If the NB was not fitted, or a dropout is neither 0 nor above ``negligible_dropout``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.zi_scores(adata)
    >>> zt.tl.power(adata, n_cells=[400, 4000])
    >>> zt.get.power_df(adata, of="genes").columns.tolist()
    ['gene', 'dropout', 'depth', 'n_cells', 'power']
    """
    check_anndata(adata, copy)
    _check_dropout(dropout, negligible_dropout)
    fit = Fitted.read(adata, key)
    check_nb(fit)
    sizes = adata.n_obs * 2.0 ** np.arange(-1, 6) if n_cells is None else n_cells
    asked = _Asked(np.unique(np.round(sizes)).astype(np.int64), power, alpha, negligible_dropout)
    pilot = _Genes.read(adata, fit, genes, depth, device)
    level = _Level.read(fit, adata, alpha)
    found: dict[str, Any] = dict(_tables(pilot, level, dropout, depth, asked))
    if SELECTION in fit:
        found[POWER_VERDICT.name] = _verdict(fit, adata.n_obs, n_restarts, difference, asked)
    settings = {"power": power, "alpha": alpha, "negligible_dropout": negligible_dropout}
    found["params"] = storable({**settings, "difference": difference, "n_obs": adata.n_obs})
    target = target_of(adata, copy)
    needed = spread(_deciding(pilot, level, asked), pilot.places, adata.n_vars)
    target.var[fit.keys.zi("cells_needed")] = needed
    target.uns[fit.keys.uns][POWER.name] = found
    return target if copy else None


class _Asked(NamedTuple):
    n_cells: np.ndarray
    power: float
    alpha: float
    negligible: float


class _Genes(NamedTuple):
    """Genes of a pilot, (n_genes,) each but for the last.

    Attributes
    ----------
    places, names, call
        Where they are in the AnnData, and what they are called.
    mean, theta, dropout
        Averages over cells of their means, inverse dispersions, and estimated dropout.
    means
        Of groups of cells, for each depth.
    """

    places: np.ndarray
    names: np.ndarray
    call: np.ndarray
    mean: np.ndarray
    theta: np.ndarray
    dropout: np.ndarray
    means: dict[float, list[LikeMeans]]

    @classmethod
    def read(
        cls, adata: AnnData, fit: Fitted, genes: Sequence[str] | None, depth: Sequence[float], device: str
    ) -> _Genes:
        """Fit scale, dispersion and dropout around the network's means, as the test does.

        Of genes that were called they are the ZINB's, of others the NB's.
        """
        names, fitted, keys = gene_names(adata), fit.genes(adata), fit.keys
        if genes is not None and (unknown := [gene for gene in genes if gene not in names[fitted]]):
            raise KeyError(f"genes: {unknown[0]!r} is not among the genes that were fitted.")
        tested = ~np.isnan(fit.column("var", keys.zi("pval"), "zi_scores"))
        columns = np.flatnonzero((tested & (True if genes is None else names.isin(list(genes))))[fitted])
        columns = columns[np.argsort(fitted[columns])]
        places = fitted[columns]
        call = adata.var[keys.zi("call")].astype(str).to_numpy()[places]
        data, cells = fit.data(adata, resolve_device(device)), fit.cells(adata, "all")
        means: dict[float, list[LikeMeans]] = {factor: [] for factor in (1.0, *depth)}
        mean, theta, dropout = np.empty((3, len(columns)))
        everyone = torch.as_tensor(cells, device=data.device)
        n_counts = (data.n_cells - data.statistics(cells).n_zeros)[columns]
        with Means((data.n_cells, len(columns)), 0.0) as kept:
            kept.write(block[:, columns] for block in expected_means(fit, data, cells))
            for some in with_counts(
                lambda of: data.compressed(everyone, columns[of]), n_counts, kept.groups()
            ):
                of_some = np.maximum(some.means, SMALLEST_MEAN, dtype=np.float64)
                fits = fit_counts(some.counts, of_some, families=("zinb",))
                family = np.where(call[some.which] == Call.ZERO_INFLATED, fits.of("zinb"), fits.of("nb"))
                which, of_gene = some.which, (np.arange(len(family)), family)
                of_some *= np.exp(fits.coefficients[*of_gene, 0])
                for factor, of_factor in means.items():
                    of_factor.extend(map(LikeMeans.of, factor * of_some.T))
                mean[which], theta[which] = of_some.mean(0), fits.inverse_dispersion[of_gene]
                dropout[which] = fits.dropout[:, fits.of("zinb")]
        return cls(places, names[places].to_numpy(), call, mean, theta, dropout, means)

    def some(self, genes: np.ndarray) -> _Genes:
        """Those where it is true."""
        arrays = {name: part[genes] for name, part in self._asdict().items() if name != "means"}
        means = {factor: list(compress(of, genes)) for factor, of in self.means.items()}
        return self._replace(**arrays, means=means)

    def roots(self, dropout: float | np.ndarray, depth: float, negligible: float) -> SignedRoot:
        """Of all genes, arrays of (n_genes,)."""
        dropouts = np.broadcast_to(dropout, len(self.places))
        known = zip(self.means[depth], self.theta, dropouts, strict=True)
        roots = np.reshape([signed_root(*of_gene, negligible) for of_gene in known], (-1, 4))
        return SignedRoot(*roots.T)


class _Level(NamedTuple):
    """Normal quantile of the p value that is called, by how many times as large the shifts are."""

    log_factors: np.ndarray
    z: np.ndarray
    n_cells: int

    @classmethod
    def read(cls, fit: Fitted, adata: AnnData, alpha: float) -> _Level:
        pval, adjusted = (fit.column("var", fit.keys.zi(of), "zi_scores") for of in ("pval", "pval_adj"))
        calls, factors = PilotCalls(pval[~np.isnan(adjusted)]), np.sqrt(_GROWTH)
        z = scipy.stats.norm.isf([calls.level(factor, alpha) for factor in factors])
        return cls(np.log(factors), z, adata.n_obs)

    def at(self, n_cells: np.ndarray, deeper: float) -> np.ndarray:
        return np.interp(0.5 * np.log(n_cells / self.n_cells) + np.log(deeper), self.log_factors, self.z)


def _check_dropout(dropout: Sequence[float], negligible: float) -> None:
    for share in dropout:
        if share <= negligible and not share == 0 < negligible:
            raise ValueError(
                f"dropout must be above negligible_dropout ({negligible:g}), or 0 where that is not, "
                f"found {share!r}."
            )


def _tables(
    pilot: _Genes, level: _Level, dropout: Sequence[float], depth: Sequence[float], asked: _Asked
) -> dict[str, pd.DataFrame]:
    """Power of each gene by number of cells, and the numbers that it needs; by names of the tables."""
    of_genes, of_needs = [], []
    for share in dropout:
        plain = pilot.roots(share, 1.0, asked.negligible)
        for factor in depth:
            roots = plain if factor == 1 else pilot.roots(share, factor, asked.negligible)
            deeper = float(np.median(roots.shift / plain.shift))
            known = pd.DataFrame({"gene": pilot.names, "dropout": share, "depth": factor})
            needs = _needed(roots, level, asked, deeper, share == 0)
            about = pilot.mean * factor, pilot.theta, pilot.call
            columns = dict(zip(("mean", "inverse_dispersion", "call"), about, strict=True))
            of_needs.append(known.assign(**columns, n_cells=needs))
            for n in asked.n_cells:
                found = _power(roots, np.full(len(needs), float(n)), level, asked, deeper, share == 0)
                of_genes.append(known.assign(n_cells=n, power=found))
    needed, genes = (pd.concat(tables, ignore_index=True) for tables in (of_needs, of_genes))
    return {POWER_NEEDED.name: needed[list(POWER_NEEDED.holds)], POWER_GENES.name: genes}


def _power(
    roots: SignedRoot, n: np.ndarray, level: _Level, asked: _Asked, deeper: float, none: bool | np.ndarray
) -> np.ndarray:
    of_none = roots.power_of_none(n, float(scipy.stats.norm.isf(asked.alpha)))
    return np.where(none, of_none, roots.power(n, level.at(n, deeper)))


def _needed(
    roots: SignedRoot, level: _Level, asked: _Asked, deeper: float, none: bool | np.ndarray
) -> np.ndarray:
    return fewest(lambda n: _power(roots, n, level, asked, deeper, none), asked.power, np.shape(roots.shift))


def _deciding(pilot: _Genes, level: _Level, asked: _Asked) -> np.ndarray:
    """How many cells decide the genes that are undecided, if their dropout is as it is estimated."""
    open_ = pilot.call == Call.UNDECIDED
    some = pilot.some(open_)
    none = (some.dropout <= asked.negligible) & (asked.negligible > 0)
    needed = np.full(len(open_), np.nan)
    roots = some.roots(np.where(none, 0.0, some.dropout), 1.0, asked.negligible)
    needed[open_] = _needed(roots, level, asked, 1.0, none)
    return needed


def _verdict(
    fit: Fitted, n_obs: int, n_restarts: Sequence[int], difference: float | None, asked: _Asked
) -> pd.DataFrame:
    """Where the interval will lie, given the difference and on average over what it may be."""
    row = fit[DIFFERENCES].set_index("model").loc["zinb"]
    pilot = CrossedMean.of(row)
    n_cells, restarts = (part.ravel() for part in np.meshgrid(asked.n_cells, n_restarts, indexing="ij"))
    n_test = np.maximum(np.round(n_cells * pilot.n_columns / n_obs).astype(np.int64), 2)
    given = pilot.mean if difference is None else difference
    asked_of = pilot, float(row["rope"]), n_test, restarts
    power = verdict_power(*asked_of, difference=given, alpha=asked.alpha)
    expected = expected_verdict_power(*asked_of, alpha=asked.alpha)
    columns = n_cells, n_test, restarts, np.full(len(n_test), given), *power, *expected
    return pd.DataFrame(dict(zip(POWER_VERDICT.holds, columns, strict=True)))
