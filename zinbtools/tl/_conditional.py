"""Test zero inflation of genes given the state of each cell, by likelihood ratios around the NB's means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse

from .._anndata.results import spread
from .._anndata.unknown import Column, unknown_columns
from .._record.keys import ZI_COLUMNS, Keys
from .._record.parts import ZERO_CAUSES
from .._words.answers import Call, Explanation, of_obs
from ..get._fitted import Fitted
from ..jobs.progress import counting
from ..jobs.threads import in_order
from ..model.data import CountData
from ..model.predictive import hidden_states
from ..stats import zero_inflation as zi
from ..stats.bursts import fit_bursts
from ..stats.count_models import Copies, CountFits
from ..stats.dispersion_by_state import main_directions
from ..stats.own_shapes import LEAST_SPREAD, chosen, fit_by_shape, highest
from ..stats.told_by import ToldBy, best_column, told_by
from ._cell_effects import SharedEffects, most_telling
from ._columns import Around, Genes, Means, Odds, States, chosen_genes, fit_columns, gene_groups, joined
from ._copies import SMALLEST_MEAN, expected_means
from ._reads_by_state import reads_tested_by_state
from ._trained import Trained

Groups = Callable[[], Iterable[tuple[slice, np.ndarray]]]

WORDS = ("call", "explained_by", "on_in")  # of the columns
SMALL_PANEL = 500  # genes
KEPT_BYTES = 2**28  # of states without one of the genes
# What is found of a gene that is called, if it is asked for: as bursts, with the gain on a dropout.
BURSTS = ("gain", "gain_se", "statistic", "frequency", "frequency_se", "size", "size_se")
WEIGHT_OF_ODDS = 0.8  # of the level: a gene is tested twice where cells differ in the odds of a dropout
# Of the decoder's hidden layer, on which a gene's dispersion may depend; fewer where cells are few.
N_DIRECTIONS, CELLS_PER_DIRECTION = 40, 25


class CallRule(NamedTuple):
    """When a gene is called, as in `zi_scores`."""

    alpha: float
    negligible_dropout: float = 0.01
    smallest_dropout: float = 0.1

    def check(self) -> None:
        """Refuse dropout probabilities in the wrong order."""
        if self.negligible_dropout >= self.smallest_dropout:
            raise ValueError(
                f"negligible_dropout must be below smallest_dropout ({self.smallest_dropout!r}), "
                f"found {self.negligible_dropout!r}."
            )


def stored_means(adata: AnnData, fit: Fitted, cells: np.ndarray) -> np.ndarray | None:
    """Read the NB's means from its layer; None where they are not there for all of the cells."""
    layer = fit.keys.mean("nb")
    if layer not in adata.layers:
        return None
    means = np.asarray(adata.layers[layer])[np.ix_(cells, fit.genes(adata))]
    return means if np.isfinite(means).all() else None  # cells that were concatenated later have none


def check_nb(fit: Fitted) -> None:
    """Refuse a fit without the NB."""
    if "nb" in fit.models:
        return
    if fit.is_imported:
        raise ValueError(
            "method 'conditional' needs an NB, but only a ZINB was imported; train one alike and import "
            "both: zt.tl.import_scvi(adata, [nb, zinb])."
        )
    raise ValueError("method 'conditional' needs the NB model, but only 'zinb' was fitted; fit it too.")


class GeneTests:
    """The counts of some cells around what the NB network says of them, to be tested gene by gene.

    Parameters
    ----------
    fit, data
        The network, and all counts.
    cells
        Which cells, by index.
    means
        The network's means, (n_cells, n_fitted), where they are at hand.
    rule
        When a gene is called.
    columns
        What the fit does not know of these cells.
    n_threads
        That share the genes.
    copies
        Where counts are reads, how their molecules were copied.
    apart
        Whether genes that are called are asked for bursts too: `BURSTS`.
    """

    def __init__(
        self,
        fit: Fitted | Trained,
        data: CountData,
        cells: np.ndarray,
        rule: CallRule,
        means: np.ndarray | None = None,
        columns: Sequence[Column] = (),
        n_threads: int = 1,
        copies: Copies | None = None,
        apart: bool = False,
    ) -> None:
        self._copies, self._apart = copies, apart
        self._fit, self._data, self._rule, self._columns = fit, data, rule, columns
        self._n_threads = n_threads
        self._cells, self._given = torch.as_tensor(cells, device=data.device), means
        self.genes = data.statistics(cells)
        self._n_counts = len(cells) - self.genes.n_zeros
        self._options: dict[str, Any] = {
            "families": ("zinb",),
            "negligible_dropout": rule.negligible_dropout,
            "interval_level": 1 - 2 * rule.alpha,
            "copies": copies,
        }
        self._price = np.ones(data.n_genes)  # by which a p value is multiplied

    def results(self) -> dict[str, np.ndarray]:
        """Test every gene; what `zi_scores` writes, likelihood ratio and mean count, (n_fitted,) each.

        Where cells differ in the odds of a dropout, as the other genes have it, each gene is also tested with
        these odds; one of the two tests counts, at the price of the choice. Genes that are called with one
        dispersion for all cells are tested again, with one that depends on the state of the cell and on what
        the other genes say of its dispersion: a p value is the larger of the two. The null has the dispersion
        of an NB, which takes up some of a dropout; the ZINB that of the counts that are no dropouts; each is
        charged what the prior of its coefficients takes. It is asked whether a column tells the zeros of
        these genes.

        Reads are tested with one dispersion and one dropout probability for all cells; those that are called
        again, with a shape of the copies of their own, where genes differ in it, and then with a dispersion
        of their molecules that depends on the state of the cell.
        """
        with self._means() as groups:
            fits = fit_columns(self._counts, self._n_counts, groups(), self._n_threads, **self._options)
            found = self._tested(fits)
            if self._copies is not None:
                return {"mean_count": self.genes.mean, **self._reads(found, fits, self._copies, groups)}
            telling = most_telling(fits, ~np.isnan(self._adjusted(found["pval"])))
            some = chosen_genes(self._counts, self._n_counts, groups(), telling)
            shared = SharedEffects(fits, telling, some, self._n_threads)
            odds = self._with_odds(found, fits, shared, groups)
            again = self._adjusted(found["pval"]) <= self._rule.alpha
            told: dict[str, ToldBy] = {}
            if again.any():
                some = chosen_genes(self._counts, self._n_counts, groups(), again)
                by_state, told = self._by_state(some, again, odds, shared)
                by_state["pval"] = np.maximum(by_state["pval"], found["pval"][again])
                for name, values in by_state.items():
                    found[name][again] = values
            called = self._called(found, again, told)
            if self._apart:
                called |= self._bursts(called, groups)
        return {"mean_count": self.genes.mean, **called}

    def _bursts(self, called: dict[str, np.ndarray], groups: Groups) -> dict[str, np.ndarray]:
        """Fit bursts to the genes that are called and that nothing explains: `BURSTS`.

        They and the dropout that they are compared with have one dispersion for all cells: one that depends
        on the state has seen the zeros, and what is left of them is neither's.
        """
        open_ = (called["call"] == Call.ZERO_INFLATED) & (called["explained_by"] == Explanation.NONE)
        found = {f"bursts_{name}": np.full(len(open_), np.nan) for name in BURSTS}
        some = chosen_genes(self._counts, self._n_counts, groups(), open_)
        fits = in_order(
            lambda genes: (genes.which, fit_bursts(genes.counts, genes.means)), some, self._n_threads
        )
        n_open = int(open_.sum())
        for genes, bursts in counting(fits, n_open, "bursts", "gene", lambda found: len(found[0])):
            for name in BURSTS:
                found[f"bursts_{name}"][genes] = getattr(bursts, name)
        return found

    def _reads(
        self, found: dict[str, np.ndarray], fits: CountFits, copies: Copies, groups: Groups
    ) -> dict[str, np.ndarray]:
        """What follows from the tests of all genes of reads."""
        self._with_shapes(found, copies, groups)
        again = self._adjusted(found["pval"]) <= self._rule.alpha
        some = chosen_genes(self._counts, self._n_counts, groups(), again)
        told = self._told_of_reads(some, fits, again)
        if again.any():
            some = chosen_genes(self._counts, self._n_counts, groups(), again)
            test = partial(reads_tested_by_state, states=self._states(), copies=copies, options=self._options)
            tests = counting(
                in_order(lambda genes: (genes.which, *test(genes)), some, self._n_threads),
                int(again.sum()),
                "genes again, by the state of the cell",
                "gene",
                lambda found: len(found[0]),
            )
            for genes, ratio, of_genes in tests:
                pval = np.maximum(zi.boundary_pval(ratio), found["pval"][genes])
                for name, values in self._tested(of_genes, genes).items():
                    found[name][genes] = values
                found["ratio"][genes], found["pval"][genes] = ratio, pval
        return self._called(found, again, told)

    def _with_shapes(self, found: dict[str, np.ndarray], copies: Copies, groups: Groups) -> None:
        """Test the genes of reads that are called again, with shapes of their own; p values may only rise."""
        again = self._adjusted(found["pval"]) <= self._rule.alpha
        if copies.shape_sd < LEAST_SPREAD or not again.any():
            return
        some = chosen_genes(self._counts, self._n_counts, groups(), again)

        def fit(of: Genes) -> tuple[np.ndarray, list[CountFits]]:
            return of.which, fit_by_shape(of.counts, of.means, **self._options)

        for genes, fits in in_order(fit, some, self._n_threads):
            z = fits[0].of("zinb")
            null = np.stack([of.null_log_likelihood for of in fits])
            zinb = np.fmax(np.stack([of.log_likelihood[:, z] for of in fits]), null)
            gain = highest(zinb, copies.shape_sd) - highest(null, copies.shape_sd)
            ratio = np.maximum(2.0 * gain, 0.0)
            pval = np.maximum(zi.boundary_pval(ratio), found["pval"][genes])
            which = chosen(zinb, copies.shape_sd)
            tested = [self._tested(of, genes) for of in fits]
            for name in tested[0]:
                found[name][genes] = np.choose(which, [of[name] for of in tested])
            found["ratio"][genes], found["pval"][genes] = ratio, pval

    def _told_of_reads(self, some: Iterable[Genes], fits: CountFits, again: np.ndarray) -> dict[str, ToldBy]:
        """Ask what each column says of the genes that are called."""
        if not again.any():
            return {}
        options = {"negligible_dropout": self._rule.negligible_dropout, "copies": self._copies}
        told: list[list[ToldBy]] = [
            [
                told_by(genes.counts, genes.means, column.levels, without=fits.some(genes.which), **options)
                for column in self._columns
            ]
            for genes in some
        ]
        return {
            column.name: ToldBy(*map(np.concatenate, zip(*of_column, strict=True)))
            for column, of_column in zip(self._columns, zip(*told, strict=True), strict=True)
        }

    def _with_odds(
        self, found: dict[str, np.ndarray], fits: CountFits, shared: SharedEffects, groups: Groups
    ) -> Odds:
        """Test the genes with odds of a dropout that differ between cells too, where there are such odds.

        Return the odds of the test of each gene that counts: the one with the smaller p value by its weight.
        """
        if shared.on_dropout is None:
            return lambda genes: np.ones((fits.n_cells, len(genes)))
        with_odds = fit_columns(
            self._counts, self._n_counts, groups(), self._n_threads, shared.odds, **self._options
        )
        tested = self._tested(with_odds)
        better = tested["pval"] / WEIGHT_OF_ODDS < found["pval"] / (1 - WEIGHT_OF_ODDS)
        for name, values in tested.items():
            found[name] = np.where(better, values, found[name])
        self._price = 1 / np.where(better, WEIGHT_OF_ODDS, 1 - WEIGHT_OF_ODDS)
        found["pval"] = np.minimum(found["pval"] * self._price, 1.0)
        return lambda genes: np.where(better[genes], shared.odds(genes), 1.0)

    def _by_state(
        self, some: Iterable[Genes], which: np.ndarray, odds: Odds, shared: SharedEffects
    ) -> tuple[dict[str, np.ndarray], dict[str, ToldBy]]:
        """Test some genes again; and what each column says of them."""
        states = self._states()
        test = partial(
            self._tested_by_state, odds=odds, states=lambda gene: shared.beside(states(gene), gene)
        )
        tested = counting(
            in_order(test, some, self._n_threads),
            int(which.sum()),
            "genes again, by the state of the cell",
            "gene",
            lambda found: len(found[0]),
        )
        ratios, fits, told = zip(*tested, strict=True)
        together = {
            column.name: ToldBy(*map(np.concatenate, zip(*of_column, strict=True)))
            for column, of_column in zip(self._columns, zip(*told, strict=True), strict=True)
        }
        ratio = np.concatenate(ratios)
        found = self._tested(joined(fits), which)
        pval = np.minimum(zi.boundary_pval(ratio) * self._price[which], 1.0)
        return found | {"ratio": ratio, "pval": pval}, together

    def _tested_by_state(
        self, some: Genes, odds: Odds, states: States
    ) -> tuple[np.ndarray, CountFits, list[ToldBy]]:
        """Likelihood ratios and fits of a few genes, and what each column says of them."""
        genes = Around.by_state(some, odds, states)
        under_null = genes.fit(**self._options | {"interval_level": 0.0})
        kept = genes.without_dropouts(under_null)
        fits = kept.fit(**self._options)
        highest = np.fmax(_penalised(genes, under_null), _penalised(kept, fits))
        null = under_null.null_log_likelihood - genes.penalties
        options = {"negligible_dropout": self._rule.negligible_dropout, **kept.given}
        told = [
            told_by(kept.counts, kept.means, column.levels, without=fits, **options)
            for column in self._columns
        ]
        return np.maximum(2.0 * (highest - null), 0.0), fits.averaged(kept.odds), told

    def _tested(self, fits: CountFits, which: np.ndarray | slice = slice(None)) -> dict[str, np.ndarray]:
        ratio = zi.dropout_likelihood_ratio(fits)
        return {
            "ratio": ratio,
            "score": fits.gain,
            "score_se": fits.gain_se,
            "pval": zi.boundary_pval(ratio),
            "dropout": fits.dropout[:, fits.of("zinb")].copy(),
            "dropout_low": fits.dropout_interval[:, 0].copy(),
            "dropout_high": fits.dropout_interval[:, 1].copy(),
            "excess_zeros": zi.excess_zeros(fits, self.genes.n_zeros[which]),
            "information": fits.information,
        }

    def _adjusted(self, pval: np.ndarray) -> np.ndarray:
        return zi.dropout_pval_adj(pval, self._n_counts)

    def _called(
        self, found: dict[str, np.ndarray], again: np.ndarray, told: Mapping[str, ToldBy]
    ) -> dict[str, np.ndarray]:
        """Add what follows from the tests of all genes; some of them were tested ``again``."""
        rule, adjusted = self._rule, self._adjusted(found["pval"])
        level = zi.threshold(adjusted, rule.alpha)
        information = found.pop("information")
        power = zi.power(information, rule.smallest_dropout, level, rule.negligible_dropout)
        calls = zi.call(adjusted, found["dropout_high"], rule.alpha, rule.negligible_dropout)
        explained, on_in = np.full((2, len(calls)), Explanation.NONE.value, dtype=object)
        explained[again & ~(adjusted <= rule.alpha)] = Explanation.DISPERSION.value
        if told:
            names = {column.name: column.names for column in self._columns}
            called = calls == Call.ZERO_INFLATED
            for gene, column, level in zip(
                np.flatnonzero(again), *best_column(told, rule.alpha), strict=True
            ):
                if column and called[gene]:
                    explained[gene] = of_obs(column)
                    on_in[gene] = names[column][level] if level >= 0 else ""
        words = {"call": calls, "explained_by": explained, "on_in": on_in}
        return {**found, "pval_adj": adjusted, "power": power, **words}

    def _counts(self, genes: slice | None = None) -> Iterator[sparse.csr_array]:
        return self._data.compressed(self._cells, genes)

    @contextmanager
    def _means(self) -> Iterator[Groups]:
        """Give the network's means, some genes at a time, as often as they are asked for."""
        if self._given is not None:
            means = np.maximum(self._given, SMALLEST_MEAN)
            yield lambda: ((group, means[:, group]) for group in gene_groups(self._n_counts))
            return
        with Means((len(self._cells), self._data.n_genes), SMALLEST_MEAN) as kept:
            cells = self._cells.numpy(force=True)
            kept.write(expected_means(self._fit, self._data, cells, self._n_threads))
            yield kept.groups

    def _states(self) -> States:
        """What the dispersion of a gene may depend on, (n_cells, at most 41), by the gene's index.

        In a small panel a gene's own count is much of what the network knows of a cell, so that its zeros
        would tell its dispersion: there the gene is not seen.
        """
        nb = self._fit.load("nb", self._data.device)

        def states(unseen: tuple[int, float] | None = None) -> Iterator[np.ndarray]:
            return hidden_states(nb, self._data, self._cells, unseen)

        n_directions = min(N_DIRECTIONS, 1 + len(self._cells) // CELLS_PER_DIRECTION)
        library = main_directions((block[:, -1:] for block in states()), 1)
        hidden = main_directions((block[:, :-1] for block in states()), n_directions)

        def coordinates(unseen: tuple[int, float] | None = None) -> np.ndarray:
            blocks = (np.hstack([hidden(block[:, :-1]), library(block[:, -1:])]) for block in states(unseen))
            return np.concatenate(list(blocks)).astype(np.float32)

        if self._data.n_genes > SMALL_PANEL:
            of_all = coordinates()
            return lambda gene: of_all
        # in double precision, and then single: the same however the counts come in blocks
        logs = [np.asarray(block.astype(np.float64).log1p().sum(0)).ravel() for block in self._counts()]
        averages = (np.sum(logs, axis=0) / len(self._cells)).astype(np.float32)
        n_kept = KEPT_BYTES // (4 * len(self._cells) * (n_directions + 1))
        return lru_cache(max(n_kept, 1))(lambda gene: coordinates((gene, float(averages[gene]))))


def _penalised(genes: Around, fits: CountFits) -> np.ndarray:
    """Log likelihood of the ZINBs, less what the priors of their dispersions take, nats, (n_genes,)."""
    return fits.log_likelihood[:, fits.of("zinb")] - genes.penalties


def conditional_test(
    fit: Fitted | Trained,
    data: CountData,
    cells: np.ndarray,
    rule: CallRule,
    means: np.ndarray | None = None,
    obs: pd.DataFrame | None = None,
    n_threads: int = 1,
    copies: Copies | None = None,
    apart: bool = False,
) -> dict[str, np.ndarray]:
    """Test each gene; return what `zi_scores` writes, likelihood ratio and mean count, (n_fitted,) each.

    With ``obs`` of all cells it is asked which of its columns tell the zeros of the genes that are called.
    With ``copies`` counts are reads, and it is asked for a dropout of their molecules. With ``apart`` the
    molecules of genes that are called are asked for bursts: `BURSTS`, each with ``bursts_`` before its name.
    """
    columns: list[Column] = []
    if obs is not None:
        totals = data.log_library.numpy(force=True).ravel()[cells]
        columns = [*unknown_columns(obs.iloc[cells], known_columns(fit), totals)]
    return GeneTests(fit, data, cells, rule, means, columns, n_threads, copies, apart).results()


def known_columns(fit: Fitted | Trained) -> set[str]:
    """Columns of ``obs`` that are covariates of a fit, or its results."""
    settings = fit.settings
    keys = (settings.batch_key, settings.size_factor_key)
    own = fit.keys.all_names()["obs"] if isinstance(fit, Fitted) else []
    return {
        *(key for key in keys if key is not None),
        *settings.categorical_covariate_keys,
        *settings.continuous_covariate_keys,
        *own,
        *Keys().all_names()["obs"],
    }


def write_columns(target: AnnData, keys: Keys, genes: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    """Write what was found of the fitted genes, given by index, and remove what another method found."""
    for name in ("score", "score_se", *ZI_COLUMNS):
        place = keys.zi(name)
        if name in columns:
            values = columns[name]
            if name in WORDS:
                target.var[place] = _spread_words(name, values, genes, target.n_vars)
            else:
                target.var[place] = spread(values, genes, target.n_vars)
        elif place in target.var:
            del target.var[place]


def remove_causes(target: AnnData, keys: Keys) -> None:
    """Take away the causes of zeros that earlier calls had."""
    target.uns[keys.uns].pop(ZERO_CAUSES.name, None)
    for place in (keys.zero_cause, keys.zero_cause_margin, keys.zero_cause_margin_se):
        if place in target.var:
            del target.var[place]


def _spread_words(name: str, words: np.ndarray, genes: np.ndarray, n_vars: int) -> pd.Categorical:
    """Place words of the fitted genes among all genes; missing elsewhere."""
    full = np.full(n_vars, None, dtype=object)
    full[genes] = words
    calls = [call.value for call in Call]
    return pd.Categorical(full, categories=calls if name == "call" else sorted({*words, ""}))
