"""Which cells are the model's: by position, by name, or not at all. It needs no scvi-tools."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from anndata import AnnData, concat

from zinbtools._anndata.counts import read_counts
from zinbtools.simulate import zisynth
from zinbtools.tl._scvi_split import joint_split, own_split, with_test_cells

pytestmark = pytest.mark.filterwarnings("ignore:Observation names are not unique")

TRAIN, VALIDATION = np.arange(0, 60, 2), np.arange(1, 20, 2)


@pytest.fixture
def known() -> AnnData:
    """Two samples of 30 cells that share their barcodes."""
    return concat([zisynth(n_obs=30, rng=0), zisynth(n_obs=30, rng=1)])


def model_of(adata: AnnData) -> SimpleNamespace:
    return SimpleNamespace(adata=adata, train_indices=TRAIN, validation_indices=VALIDATION)


def split_of(adata: AnnData, source: SimpleNamespace) -> list[str]:
    return own_split(adata, read_counts(adata), source, None).tolist()


def truth() -> np.ndarray:
    labels = np.full(60, "test", dtype=object)
    labels[TRAIN], labels[VALIDATION] = "train", "validation"
    return labels


def renamed(adata: AnnData) -> AnnData:
    copy = adata.copy()
    copy.obs_names = [f"other-{number}" for number in range(copy.n_obs)]
    return copy


@pytest.mark.parametrize("given", [lambda a: a, AnnData.copy, renamed, lambda a: a[np.arange(60)]])
def test_the_model_s_own_cells_go_by_position(known: AnnData, given: Callable[[AnnData], AnnData]) -> None:
    assert not known.obs_names.is_unique
    assert split_of(given(known), model_of(known)) == truth().tolist()


@pytest.mark.parametrize("chosen", [np.arange(59), np.arange(60)[::-1], np.arange(25, 35)])
def test_names_that_are_given_twice_are_refused_in_another_order(known: AnnData, chosen: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"obs_names of (model\.)?adata must be unique .* found 'cell_"):
        split_of(known[chosen].copy(), model_of(known))


def test_other_cells_beside_them_of_the_same_names_are_refused(known: AnnData) -> None:
    known.obs_names_make_unique()
    beside = concat([known, zisynth(n_obs=30, rng=2)])
    with pytest.raises(ValueError, match="obs_names of adata must be unique"):
        split_of(beside, model_of(known))


@pytest.mark.parametrize("chosen", [np.arange(59), np.arange(60)[::-1], np.arange(25, 35)])
def test_names_that_are_unique_tell_who_is_who(known: AnnData, chosen: np.ndarray) -> None:
    known.obs_names_make_unique()
    assert split_of(known[chosen].copy(), model_of(known)) == truth()[chosen].tolist()
    beside = concat([renamed(zisynth(n_obs=5, rng=3)), known[chosen]])
    assert split_of(beside, model_of(known)) == ["test"] * 5 + truth()[chosen].tolist()


def test_other_cells_of_the_same_names_are_not_the_model_s(known: AnnData) -> None:
    known.obs_names_make_unique()
    other = zisynth(n_obs=60, rng=4)
    other.obs_names = known.obs_names
    with pytest.raises(ValueError, match=r"have names of the model's cells and other counts, 'cell_"):
        split_of(other, model_of(known))


def test_a_model_that_says_nothing_leaves_all_cells_for_testing(known: AnnData) -> None:
    source = SimpleNamespace(adata=known, train_indices=None, validation_indices=[])
    assert set(split_of(known, source)) == {"test"}


def labels(**of: range) -> np.ndarray:
    found = np.full(10, "test", dtype=object)
    for name, cells in of.items():
        found[list(cells)] = name
    return found


def stopped(early: bool) -> SimpleNamespace:
    return SimpleNamespace(trainer=SimpleNamespace(early_stopping_callback=object() if early else None))


def test_a_cell_that_one_model_was_trained_on_is_new_to_none_of_them() -> None:
    one, other = labels(train=range(6), validation=range(6, 8)), labels(train=range(3, 8))
    with pytest.warns(UserWarning, match="2 cells of 10 are new to both, where each by itself has 4 or more"):
        assert joint_split([one, other]).tolist() == ["train"] * 8 + ["test"] * 2


@pytest.mark.filterwarnings("error")
def test_one_split_of_all_models_is_kept() -> None:
    one = labels(train=range(6), validation=range(6, 8))
    assert joint_split([one, one]).tolist() == one.tolist()
    kept, may_have_stopped = with_test_cells(one, [stopped(early=True)])
    assert kept.tolist() == one.tolist()
    assert not may_have_stopped


@pytest.mark.parametrize(
    ("sources", "words", "may_have"),
    [
        ([stopped(early=False)], "these did not", False),
        ([stopped(early=False), stopped(early=True)], "these did", True),
        ([stopped(early=False), SimpleNamespace()], "these may have done", True),
        ([SimpleNamespace(history={"elbo_train": []})], "these did not", False),
        ([SimpleNamespace(history={"elbo_train": [], "elbo_validation": []})], "these may have done", True),
    ],
)
def test_validation_cells_are_taken_for_test_cells(
    sources: list[SimpleNamespace], words: str, may_have: bool
) -> None:
    default = labels(train=range(8), validation=range(8, 10))
    with pytest.warns(UserWarning, match=rf"2 validation cells are taken for them.* {words}\. SCVI\.train"):
        kept, may_have_stopped = with_test_cells(default, sources)
    assert kept.tolist() == ["train"] * 8 + ["test"] * 2
    assert may_have_stopped is may_have


def test_models_that_saw_every_cell_say_so() -> None:
    with pytest.warns(UserWarning, match="no test cells: the models were trained on 10 of these 10 cells"):
        kept, _ = with_test_cells(labels(train=range(10)), [stopped(early=False)])
    assert set(kept) == {"train"}
