"""What `tl.zi_replication` found: by pair of parts, by part, by gene."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from .._check.arguments import checked
from .._record.parts import ZI_GENES, ZI_PARTS
from .._record.record import Record
from .._words.answers import Call
from ..stats.replication import overlap, rank_correlation

if TYPE_CHECKING:
    from anndata import AnnData


@checked
def zi_replication_df(
    adata: AnnData, *, by: Literal["pair", "part", "gene"] = "pair", key: str | None = None
) -> pd.DataFrame:
    """Return how well the calls of zero-inflated genes agree between parts of the cells.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.zi_replication` was run.
    by
        What has a row.

    Returns
    -------
    ``"pair"``: the parts ``first`` and ``second`` (halves of the same ``split``, or batches); ``n_genes``
    (with a count in both), ``n_first`` and ``n_second`` (called in each), ``n_both``, ``jaccard`` (called in
    both per called in either); ``n_both_expected`` and ``jaccard_expected``, what chance would give of the
    two among genes of like mean, and ``pval``, its probability of as many in both or more
    (`zinbtools.stats.replication.overlap`); ``dropout_correlation``, Spearman's of the two estimates of the
    dropout probability over the ``n_either`` genes called in at least one of the two, NaN below three.

    ``"part"``: ``split``, ``part``, ``n_cells``, ``n_genes`` (with a count), ``n_called`` and ``message``:
    why a part was left out, or an empty word.

    ``"gene"``: indexed by gene, those called most often first; ``n_parts`` (in which it has a count),
    ``n_called`` (in which it was called) and, for each part, ``dropout_`` with its name, NaN where the gene
    has no count.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.zi_replication(adata)
    >>> zt.get.zi_replication_df(adata, by="part")["part"].tolist()
    ['1a', '1b']
    """
    record = Record.read(adata, key)
    tested, parts = record[ZI_GENES], record[ZI_PARTS]
    genes = tested.assign(called=tested["call"].astype(str) == Call.ZERO_INFLATED)
    if by == "pair":
        return _pairs(parts, genes)
    if by == "part":
        return _parts(parts, genes)
    return _genes(genes)


def _pairs(parts: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    tests = {name: tested.set_index("gene") for name, tested in genes.groupby("part", observed=True)}
    names = parts[parts["part"].isin(list(tests))].groupby("split", sort=False)["part"]
    pairs = [(split, a, b) for split, members in names for a, b in combinations(members, 2)]
    return pd.DataFrame(
        {"split": split, "first": a, "second": b, **_agreement(tests[a], tests[b])} for split, a, b in pairs
    )


def _agreement(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    shared = first.index.intersection(second.index)
    first, second = first.loc[shared], second.loc[shared]
    calls = first["called"].to_numpy(), second["called"].to_numpy()
    either = calls[0] | calls[1]
    of_calls = overlap(*calls, (first["mean_count"] + second["mean_count"]).to_numpy())
    return {
        **of_calls._asdict(),
        "n_either": int(either.sum()),
        "dropout_correlation": rank_correlation(
            first["dropout"].to_numpy()[either], second["dropout"].to_numpy()[either]
        ),
    }


def _parts(parts: pd.DataFrame, genes: pd.DataFrame) -> pd.DataFrame:
    called = genes.groupby("part", observed=True)["called"].agg(["size", "sum"])
    called = called.reindex(parts["part"], fill_value=0)
    table = parts[["split", "part", "n_cells"]].copy()
    table["n_genes"], table["n_called"] = called["size"].to_numpy(), called["sum"].to_numpy()
    return table.assign(message=parts["message"])


def _genes(genes: pd.DataFrame) -> pd.DataFrame:
    of_gene = genes.groupby("gene", sort=False, observed=True)["called"]
    table = pd.DataFrame({"n_parts": of_gene.size(), "n_called": of_gene.sum()})
    for name, tested in genes.groupby("part", sort=False, observed=True):
        table[f"dropout_{name}"] = tested.set_index("gene")["dropout"]
    return table.sort_values("n_called", ascending=False, kind="stable")
