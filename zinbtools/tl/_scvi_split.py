"""Which cells models of scvi-tools were trained on, found among those that they are to be evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.counts import Counts
from .._anndata.reading import FEWEST_TEST_CELLS, read_matrix
from .._words.numbers import counted
from .._words.warn import warn

_KEEP = "SCVI.train(train_size=0.8, validation_size=0.1) keeps test cells."


def joint_split(splits: Sequence[np.ndarray]) -> np.ndarray:
    """What each cell was to all of the models together, (n_obs,); test cells are those that none has used.

    Warns
    -----
    UserWarning
        If the models were trained on different cells.

    Examples
    --------
    >>> one = np.array(["train", "train", "validation", "test"], dtype=object)
    >>> joint_split([one, one]).tolist()
    ['train', 'train', 'validation', 'test']
    """
    joint = splits[0].copy()
    for name in ("validation", "train"):  # what a cell was to one of them in vain, it was to all
        joint[np.any([labels == name for labels in splits], axis=0)] = name
    n_unseen = int((joint != "train").sum())
    fewest = min(int((labels != "train").sum()) for labels in splits)
    if n_unseen < fewest:
        warn(
            f"the models were trained on different cells: {counted(n_unseen, 'cell')} of {len(joint):,} "
            f"{'is' if n_unseen == 1 else 'are'} new to both, where each by itself has {fewest:,} or more. "
            "Set scvi.settings.seed to the same number before each training, and they have the same split."
        )
    return joint


def with_test_cells(labels: np.ndarray, sources: Sequence[Any]) -> tuple[np.ndarray, bool]:
    """Take validation cells for test cells where there are none, which is what scvi-tools leaves by default.

    Returns
    -------
    The labels, and whether the training of a model may have stopped by the cells that are now test cells.

    Warns
    -----
    UserWarning
        If it was so, or if no cells are left to test on.
    """
    n_test, n_validation = (int((labels == name).sum()) for name in ("test", "validation"))
    if n_test >= FEWEST_TEST_CELLS:
        return labels, False
    if n_validation + n_test < FEWEST_TEST_CELLS:
        warn(
            f"there are no test cells: the models were trained on {int((labels == 'train').sum()):,} of "
            f"these {len(labels):,} cells. What is said of split='all' is of cells that they know. {_KEEP}"
        )
        return labels, False
    known = [_stopped_early(source) for source in sources]
    did = "did" if any(known) else "may have done" if None in known else "did not"
    warn(
        f"no test cells were kept: the {counted(n_validation, 'validation cell')} are taken for them. They "
        f"have taught the models nothing unless a training stopped by them, as with early_stopping=True; "
        f"these {did}. {_KEEP}"
    )
    return np.where(labels == "validation", "test", labels), did != "did not"


def _stopped_early(source: Any) -> bool | None:
    """Whether validation cells told when to stop; None of a saved model whose history does not tell."""
    history = getattr(source, "history", None) or {}
    if history and not any(name.endswith("validation") for name in history):
        return False  # nobody looked at them
    trainer = getattr(source, "trainer", None)
    return None if trainer is None else getattr(trainer, "early_stopping_callback", None) is not None


def own_split(adata: AnnData, counts: Counts, source: Any, layer: str | None) -> np.ndarray:
    """The model's split, (n_obs,); cells that it does not know are test cells.

    Parameters
    ----------
    counts
        Those of ``adata``, of the model's genes.
    source
        The SCVI model, with its AnnData.
    layer
        Where the model's AnnData has its counts.

    Raises
    ------
    ValueError
        If names do not tell which cell is which.
    """
    labels = np.full(source.adata.n_obs, "test", dtype=object)
    for name, attribute in (("train", "train_indices"), ("validation", "validation_indices")):
        members = getattr(source, attribute, None)
        if members is not None and len(members):
            labels[np.asarray(members)] = name
    if adata is source.adata:
        return labels
    places = _places(
        adata.obs_names,
        source.adata.obs_names,
        np.concatenate([_totals(rows) for rows in counts.blocks()]),
        _totals(read_matrix(source.adata, layer)),
    )
    return np.where(places < 0, "test", labels[places])


def _totals(rows: Any) -> np.ndarray:
    """Counts of each cell."""
    return np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel()


def _places(names: pd.Index, known: pd.Index, totals: np.ndarray, known_totals: np.ndarray) -> np.ndarray:
    """The place of each cell among those that the model knows, -1 for others.

    The same totals in the same order are those cells, whatever they are called; else the names say who is
    who, and the totals that they are right.
    """
    if np.array_equal(totals, known_totals):
        return np.arange(len(names))
    remedy = "give model.adata itself, or the split in a column of obs (split=)"
    for whose, index in (("adata", names), ("model.adata", known)):
        if not index.is_unique:
            raise ValueError(
                f"obs_names of {whose} must be unique for the model's split to be looked up by them, found "
                f"{index[index.duplicated()][0]!r} twice; {remedy}."
            )
    places = known.get_indexer(names)
    other = (places >= 0) & (totals != known_totals[places])
    if other.any():
        raise ValueError(
            f"{int(other.sum())} cells of adata have names of the model's cells and other counts, "
            f"{names[other][0]!r} among them, so that obs_names do not tell which cells it was trained on; "
            f"{remedy}."
        )
    return places
