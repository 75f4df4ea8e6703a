"""The answer of `tl.model_selection`, with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from .._check.arguments import checked
from .._record.parts import SELECTION, TESTS
from .._record.record import Record
from .._words.numbers import counted, percent
from ..stats.equivalence import Answer

if TYPE_CHECKING:
    from anndata import AnnData

_FEW_ZEROS = 100  # below which a percentage of them says little
_OPENINGS = {
    Answer.ZINB: "Zero-inflate",
    Answer.NB: "Do not zero-inflate",
    Answer.NO_DIFFERENCE: "No practical difference",
    Answer.BETTER_FIT_ONLY: "Better fit, not zero inflation",
}
_RELATIONS = {"above": "beyond", "below": "beyond", "inside": "within", "open": "neither within nor beyond"}


@dataclass(frozen=True, eq=False)
class Verdict:
    """Answer to whether the counts should be zero-inflated, with what it rests on.

    Attributes
    ----------
    verdict
        A `zinbtools.stats.equivalence.Answer`.
    sentence
        The same for people, with the numbers that led to it.
    differences, by_restart, tests
        Tables of `zinbtools.tl.model_selection`.
    groups
        Likewise; None unless it was asked for.
    """

    verdict: str
    sentence: str
    differences: pd.DataFrame
    by_restart: pd.DataFrame
    tests: pd.DataFrame
    groups: pd.DataFrame | None

    def __str__(self) -> str:
        """Write the sentence and the tables."""
        tables = [
            self.differences[["model", "difference", "se", "low", "high", "rope", "n_cells", "n_restarts"]],
            self.tests[
                ["metric", "nb_median", "zinb_median", "pval_nb_better", "pval_zinb_better", "better"]
            ],
        ]
        if self.groups is not None:
            columns = ["group", "n_cells", "difference", "low", "high", "rope", "verdict"]
            tables.append(self.groups[columns])
        written = (table.to_string(index=False, float_format="%.4g") for table in tables)
        return "\n\n".join([self.sentence, *written])


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
    >>> zt.tl.model_selection(adata, n_restarts=2, n_samples=10, n_null=5, max_epochs=5, progress=False)
    >>> zt.get.verdict(adata).differences["model"].tolist()
    ['zinb']
    """
    found = Record.read(adata, key)[SELECTION]
    return Verdict(
        str(found["verdict"]),
        sentence(found),
        found["differences"],
        found["by_restart"],
        found["tests"],
        found.get("groups"),
    )


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
    >>> zt.tl.model_selection(adata, n_restarts=2, n_samples=10, n_null=5, max_epochs=5, progress=False)
    >>> zt.get.model_selection_df(adata)["metric"].tolist()
    ['nll', 'ks_dropout_ratio', 'ks_zeros_to_expression', 'ks_cv']
    """
    return Record.read(adata, key)[TESTS].copy()


def sentence(found: Mapping[str, Any]) -> str:
    """Say the verdict in one sentence or two, with the numbers that led to it."""
    row = found["differences"].set_index("model").loc["zinb"]
    answer, relation = Answer(found["verdict"]), _RELATIONS[row["position"]]
    unknown = answer is Answer.NO_DIFFERENCE and row["position"] == "open"
    opening = "No practical difference could be established" if unknown else _OPENINGS[answer]
    level = f"{100 * (1 - float(found['params']['alpha'])):g} %"
    nll = float(row["nll"] + row["difference"])  # of the NB
    cells = counted(int(row["n_cells"]), "test cell")
    restarts = counted(int(row["n_restarts"]), "restart")
    return (
        f"{opening}: on {cells} and {restarts} the ZINB's log likelihood minus the NB's is "
        f"{row['difference']:+.3g} nats per cell ({_interval(row, level)}; "
        f"{percent(abs(row['difference']) / nll)} of the NB's {nll:,.4g}), {relation} the "
        f"±{row['rope']:.2g} that make no practical difference; {_zeros(found)}.{_groups(found)}"
    )


def _interval(row: pd.Series, level: str) -> str:
    if row["se"] > 0:
        return f"{level} interval {row['low']:.3g} to {row['high']:.3g}"
    return "one test cell: no interval" if int(row["n_cells"]) == 1 else "the same in all cells: no interval"


def _zeros(found: Mapping[str, Any]) -> str:
    """Compare the zeros with those that the NB expects, corrected by what it gets wrong of its own counts."""
    zeros, pooled = found["zeros"], found["pooled_zeros"]
    observed = float(zeros["observed"].sum())
    expected = max(float((zeros["expected"] + zeros["null_mean"]).sum()), 0.0)
    if min(observed, expected) < _FEW_ZEROS:
        number = f"the number of zeros is {observed:,.0f}, where the NB would expect {expected:,.1f}"
    else:
        more = "more" if observed > expected else "fewer"
        number = f"there are {percent(abs(observed / expected - 1))} {more} zeros than the NB would expect"
    genes = f"{int(pooled['n_genes']):,} of {int(pooled['n_tested']):,} genes"
    return f"{number} of its own counts, and significantly more in {genes}"


def _groups(found: Mapping[str, Any]) -> str:
    """Say which groups are zero-inflated when they are compared by themselves."""
    groups = found.get("groups")
    if groups is None:
        return ""
    judged = groups[groups["verdict"] != ""]
    inflated = judged.loc[judged["verdict"] == Answer.ZINB, "group"].tolist()
    if not len(judged):
        return " No group could be compared by itself."
    if inflated:
        are, names = "is" if len(inflated) == 1 else "are", ", ".join(inflated)
        return f" Compared group by group, {len(inflated)} of {len(judged)} {are} zero-inflated ({names})."
    cause = ": heterogeneity makes them look so together" if found["verdict"] == Answer.ZINB else ""
    return f" Compared group by group, none of {len(judged)} is zero-inflated{cause}."
