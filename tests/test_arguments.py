"""Every public function refuses every value that its signature rules out, in a sentence, before it begins."""

from __future__ import annotations

import copy
import inspect
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from anndata import AnnData
from arguments import HOSTILE, functions, is_clear, needed
from compare import assert_same_anndata

import zinbtools as zt
from zinbtools._check.arguments import ArgumentError, check, check_arguments, checked, rule, rules_of, shown
from zinbtools._check.rng import RNG, as_integer, seed_sequence
from zinbtools._check.rules import Anything


@pytest.mark.parametrize("name", functions())
def test_what_is_not_legal_is_refused_in_one_sentence(name: str, fitted: AnnData) -> None:
    function, before = functions()[name], fitted.copy()
    tried = 0
    for parameter, of in rules_of(function).items():
        for label, value in HOSTILE.items():
            if of.accepts(value):
                continue
            with pytest.raises(ArgumentError) as caught:
                function(**{**needed(fitted, name), parameter: value})
            assert is_clear(caught.value, parameter), (parameter, label, caught.value)
            assert len(str(caught.value)) < 500
            tried += 1
    assert tried >= 20 * len([r for r in rules_of(function).values() if not isinstance(r, Anything)])
    assert_same_anndata(fitted, before)


@pytest.mark.parametrize("name", functions())
def test_defaults_are_legal(name: str) -> None:
    parameters = inspect.signature(functions()[name]).parameters.values()
    rules = rules_of(functions()[name])
    given = {p.name: p.default for p in parameters if p.default is not p.empty}
    assert [parameter for parameter, value in given.items() if not rules[parameter].accepts(value)] == []


def test_few_parameters_are_left_to_their_function() -> None:
    left = {
        (name, parameter)
        for name, function in functions().items()
        for parameter, of in rules_of(function).items()
        if isinstance(of, Anything)
    }
    assert left == {("tl.import_scvi", "model"), ("tl.model_selection", "settings"), ("tl.tune", "space")}


def test_names_that_are_not_there_are_told_with_the_nearest_one(fitted: AnnData) -> None:
    with pytest.raises(TypeError, match="no argument 'max_epoch'; did you mean 'max_epochs'?"):
        zt.tl.fit_nb_zinb(fitted, max_epoch=3)
    with pytest.raises(TypeError, match="fit_nb_zinb has no argument 'epoch_max'"):
        zt.tl.model_selection(fitted, epoch_max=3)
    with pytest.raises(TypeError, match="zi_scores has no argument 'random_state'; did you mean 'rng'?"):
        zt.tl.zi_scores(fitted, random_state=1)
    with pytest.raises(ValueError, match="max_epochs must be a whole number .* found 2.5."):
        zt.tl.model_selection(fitted, max_epochs=2.5)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("counts.h5ad", "found str; read the file first, as anndata.read_h5ad does."),
        (np.ones((4, 3)), r"found ndarray; make one of it: anndata.AnnData\(counts\)."),
        (None, "found NoneType."),
        (Mock(), "found Mock."),
    ],
)
def test_the_way_to_an_anndata_is_told(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"adata must be an AnnData, {words}"):
        zt.get.verdict(value)


def test_a_mudata_is_asked_for_a_modality() -> None:
    class MuData:
        mod = {"rna": None}  # noqa: RUF012 - as the real one has it

    with pytest.raises(TypeError, match=r"found MuData; give one of its modalities, such as mdata\['rna'\]."):
        zt.tl.zero_test(MuData())


def test_numpys_numbers_and_words_are_as_good(counts: AnnData) -> None:
    check_arguments(
        zt.tl.fit_nb_zinb,
        {
            "n_latent": np.int64(3),
            "dropout_rate": np.float32(0.2),
            "early_stopping": np.bool_(False),
            "models": np.array(["nb", "zinb"]),
            "layers": (),
            "split": np.array([0.8, 0.1, 0.1]),
            "protocol": np.str_("default"),
            "mask_var": counts.var["even"],
            "categorical_covariate_keys": {"donor"},
        },
    )


def test_values_are_shown_on_one_short_line() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shown(Odd()) == "an Odd"
    assert shown([1] * 1000) == "a list"
    assert shown("two\nlines") == r"'two\nlines'"
    assert shown(np.ones((2, 2))) == "array([[1., 1.], [1., 1.]])"


def test_bounds_are_as_they_are_told() -> None:
    tables = {
        "alpha": (["a number between 0 and 1, both excluded"], [0.5], [0, 1, -1, True, "0.5"]),
        "share": (["a number from 0 to 1"], [0, 1, 0.5], [-1e-9, 1.1, float("nan")]),
        "dropout_rate": (["a number from 0 to below 1"], [0, 0.9], [1, -0.1]),
        "learning_rate": (["a finite number above 0"], [1e-9], [0, float("inf")]),
        "rope": (["a finite number of at least 0"], [0, 3], [-1, float("inf")]),
        "layer_memory": (["a number of at least 0"], [0, float("inf")], [-1, float("nan")]),
        "anything_else": (["a finite number"], [-3.0, 0], [float("inf"), float("nan"), 1j]),
    }
    for name, ([words], good, bad) in tables.items():
        of = rule(float, name)
        assert str(of) == words
        assert [of.accepts(value) for value in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


def test_a_function_may_differ_in_what_is_least() -> None:
    assert rules_of(zt.tl.ppc)["n_null"].accepts(0)
    assert not rules_of(zt.tl.model_selection)["n_null"].accepts(1)


def test_what_is_checked_keeps_its_signature_and_name() -> None:
    @checked
    def half(share: float, *, n_obs: int = 3) -> float:
        """Divide by two."""
        return share / n_obs

    assert (half.__name__, half.__doc__, list(inspect.signature(half).parameters)) == (
        "half",
        "Divide by two.",
        ["share", "n_obs"],
    )
    assert half(0.6) == pytest.approx(0.2)
    with pytest.raises(TypeError, match="half cannot be called so: missing a required argument: 'share'."):
        half()
    with pytest.raises(ArgumentError, match="share must be"):
        half("x")


# Seeds: the same kinds everywhere

SEEDS: dict[str, Any] = {
    "int": 3,
    "numpy's int": np.int64(3),
    "large": 2**70,
    "Generator": np.random.default_rng(1),
    "RandomState": np.random.RandomState(1),
    "SeedSequence": np.random.SeedSequence(2, spawn_key=(1,)),
}


@pytest.mark.parametrize("kind", SEEDS)
def test_a_seed_of_any_kind_gives_the_same_numbers_again(kind: str) -> None:
    first, second = (zt.simulate.zisynth(n_obs=30, rng=copy.deepcopy(SEEDS[kind])) for _ in range(2))
    assert (first.X != second.X).nnz == 0
    assert 0 <= as_integer(copy.deepcopy(SEEDS[kind])) < 2**63


def test_no_seed_gives_other_numbers_each_time() -> None:
    assert (zt.simulate.zisynth(n_obs=30, rng=None).X != zt.simulate.zisynth(n_obs=30, rng=None).X).nnz > 0
    assert seed_sequence(None).entropy != seed_sequence(None).entropy


def test_a_small_seed_is_kept_as_it_is() -> None:
    assert as_integer(3) == 3
    assert as_integer(np.int8(3)) == 3


@pytest.mark.parametrize("kind", SEEDS)
def test_verbs_take_every_kind_of_seed(kind: str, fitted: AnnData, tmp_path: Any) -> None:
    zt.tl.marginal_ll(fitted, n_samples=2, rng=copy.deepcopy(SEEDS[kind]))
    zt.tl.ppc(fitted, n_samples=2, n_null=2, rng=copy.deepcopy(SEEDS[kind]))
    quick = {"n_restarts": 1, "folds": 1, "max_epochs": 1, "n_samples": 2, "n_null": 2, "progress": False}
    zt.tl.model_selection(fitted, rng=copy.deepcopy(SEEDS[kind]), **quick)
    fitted.write_h5ad(tmp_path / "seeded.h5ad")


@pytest.mark.parametrize("name", [name for name in functions() if name.startswith("simulate.")])
def test_a_seed_has_one_name(name: str, counts: AnnData) -> None:
    with pytest.raises(ArgumentError, match=f"{functions()[name].__name__} has no argument 'random_state'"):
        functions()[name](**{**needed(counts, name), "random_state": 1})


@pytest.mark.parametrize("seed", [-1, 1.0, "1", [1, 2], True])
def test_what_is_no_seed_is_refused_alike(seed: Any) -> None:
    with pytest.raises(ArgumentError, match="rng must be a whole number of at least 0, a numpy Generator"):
        check("rng", seed, rule(RNG, "rng"))
