"""The answer of `tl.model_selection`, with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._check.arguments import checked
from .._record.parts import RIVALS, SELECTION, TESTS
from .._record.record import Record
from .._words.answers import Answer
from ._headline import SYMBOLS, headline, plain
from ._sentence import sentence

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """Answer to whether the counts should be zero-inflated, with what it rests on.

    Attributes
    ----------
    verdict
        A `zinbtools.stats.equivalence.Answer`.
    explained_by
        What explains a better fit that is not zero inflation: "dispersion", "amplification", "groups",
        "covariate" or "".
    headline
        The verdict in a word or a few, such as "Zero-inflate".
    plain
        What it means, in one sentence.
    sentence
        The same for people, with the numbers that led to it, and the cautions.
    cautions
        What to know before it is believed, a sentence each.
    differences, rivals, by_restart, tests, calls
        Tables of `zinbtools.tl.model_selection`.
    groups
        Likewise; None unless it was asked for.
    """

    verdict: str
    explained_by: str
    headline: str
    plain: str
    sentence: str
    cautions: tuple[str, ...]
    differences: pd.DataFrame
    rivals: pd.DataFrame
    calls: pd.DataFrame
    by_restart: pd.DataFrame
    tests: pd.DataFrame
    groups: pd.DataFrame | None

    def __str__(self) -> str:
        """Write the sentence and the tables."""
        written = (table.to_string(index=False, float_format="%.4g") for table in self._tables())
        return "\n\n".join([self.sentence, *written])

    __repr__ = __str__

    @property
    def symbol(self) -> str:
        """A sign of the verdict, for those who do not see its colour."""
        return SYMBOLS[Answer(self.verdict)]

    @property
    def numbers(self) -> str:
        """The sentence without the cautions."""
        return self.sentence.removesuffix(" ".join(self.cautions)).rstrip()

    def _repr_html_(self) -> str:
        """Write headline, sentence and tables for a notebook."""
        lines = [f"<strong>{escape(self.plain)}</strong>", *map(escape, (self.numbers, *self.cautions))]
        written = (table.to_html(index=False, float_format="%.4g", border=0) for table in self._tables())
        text = "".join(f'<p style="max-width: 50rem">{line}</p>' for line in lines)
        return (
            '<div style="border-left: 4px solid; padding-left: 1rem">'
            f'<p style="font-size: 1.5rem; font-weight: bold">{self.symbol} {escape(self.headline)}</p>{text}'
            f"<details><summary>The numbers</summary>{''.join(written)}</details></div>"
        )

    def _tables(self) -> list[pd.DataFrame]:
        tables = [
            self.differences[["model", "difference", "se", "low", "high", "rope", "n_cells", "n_restarts"]],
            self.tests[
                ["metric", "nb_median", "zinb_median", "pval_nb_better", "pval_zinb_better", "better"]
            ],
        ]
        if len(self.rivals) > 1:
            tables.insert(1, self.rivals)
        if self.groups is not None:
            columns = ["group", "n_cells", "difference", "low", "high", "rope", "position", "verdict"]
            tables.append(self.groups[columns])
        return tables


@checked
def verdict(adata: AnnData, *, key: str | None = None) -> Verdict:
    """Return what `zinbtools.tl.model_selection` concluded; print it for sentence and tables.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.model_selection` was run.

    Returns
    -------
    The verdict with its evidence.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=600)
    >>> quick = {"n_samples": 10, "n_null": 5, "max_epochs": 5, "progress": False}
    >>> zt.tl.model_selection(adata, folds=3, n_restarts=1, **quick)
    >>> zt.get.verdict(adata).differences["model"].tolist()
    ['zinb']
    """
    found = Record.read(adata, key)[SELECTION]
    return Verdict(
        str(found["verdict"]),
        str(found["explained_by"]),
        headline(found),
        plain(found),
        sentence(found),
        tuple(str(caution) for caution in np.atleast_1d(found.get("cautions", []))),
        found["differences"],
        found["rivals"],
        found["calls"],
        found["by_restart"],
        found["tests"],
        found.get("groups"),
    )


@checked
def rivals_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Return what `zinbtools.tl.model_selection` found of the rivals of zero inflation.

    Parameters
    ----------
    adata
        Object on which `zinbtools.tl.model_selection` was run.

    Returns
    -------
    A row per NB: ``model``, ``"nb"`` with one dispersion per gene, of reads ``"nb-amplified"``, the NB of
    molecules that were copied, and where the ZINB was above the region of practical equivalence
    ``"nb-gene-cell"`` with a dispersion per gene and cell; ``gain``, ``gain_low`` and ``gain_high``, its log
    likelihood beyond that of ``"nb"`` with its interval, nats per test cell; ``over_zinb``,
    ``over_zinb_low``, ``over_zinb_high``, the same beyond the ZINB with one dispersion per gene;
    ``zinb_gain``, ``zinb_low``, ``zinb_high``, that of the ZINB with the same as this NB beyond it, and
    ``zinb_position``, where this interval lies; ``excess_zeros``, whether there are more zeros than this NB
    expects, or, of what is amplified, whether ``zinb_low`` is above 0; and ``n_restarts``. What is amplified
    is compared with an NB and a ZINB that were fitted to each gene likewise, around the means of the NB
    network.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=600)
    >>> quick = {"n_samples": 10, "n_null": 5, "max_epochs": 5, "progress": False}
    >>> zt.tl.model_selection(adata, folds=3, n_restarts=1, **quick)
    >>> zt.get.rivals_df(adata)["model"].tolist()[0]
    'nb'
    """
    return Record.read(adata, key)[RIVALS].copy()


@checked
def model_selection_df(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Return the comparisons of restarts, one row per metric, as in the 2019 study's tables.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.model_selection` was run.

    Returns
    -------
    Columns ``metric``, ``nb_median``, ``zinb_median``, ``nb_runs``, ``zinb_runs``, ``pval_nb_better``,
    ``pval_zinb_better`` (one-sided rank-sum tests), the same adjusted, and ``better``: the model that is
    significantly better by the unadjusted p value, printed bold in the study, or an empty word.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=600)
    >>> quick = {"n_samples": 10, "n_null": 5, "max_epochs": 5, "progress": False}
    >>> zt.tl.model_selection(adata, folds=3, n_restarts=1, **quick)
    >>> zt.get.model_selection_df(adata)["metric"].tolist()
    ['nll', 'ks_dropout_ratio', 'ks_zeros_to_expression', 'ks_cv']
    """
    return Record.read(adata, key)[TESTS].copy()
