"""One reader of what the verbs left: the same cause gives the same sentence, whoever asks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from anndata import AnnData
from fake_fit import fake_fit

import zinbtools as zt
from zinbtools._record import parts
from zinbtools._record.parts import Part
from zinbtools._record.record import Record

PARTS = {name: part for name, part in vars(parts).items() if isinstance(part, Part)}
OF_A_FIT: dict[str, Callable[..., Any]] = {
    "model": lambda adata, **key: zt.get.model(adata, "nb", **key),
    "metrics_df": zt.get.metrics_df,
    "best metrics": lambda adata, **key: zt.get.metrics_df(adata, best=True, **key),
    "history_df": zt.get.history_df,
    "dropout_df": zt.get.dropout_df,
    "ppc": zt.tl.ppc,
}


def said(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    """The sentence with which a call refuses."""
    with pytest.raises((KeyError, ValueError)) as caught:
        call(*arguments, **named)
    return str(caught.value.args[0])


@pytest.mark.parametrize("reader", OF_A_FIT.values(), ids=list(OF_A_FIT))
@pytest.mark.parametrize(("key", "arguments"), [(None, "adata"), ("run2", "adata, key_added='run2'")])
def test_where_there_is_no_fit_all_say_how_to_get_it(
    reader: Callable[..., Any], key: str | None, arguments: str, counts: AnnData
) -> None:
    place = f"adata.uns[{key or 'zinbtools'!r}]"
    expected = f"{place} holds no fit; run zt.tl.fit_nb_zinb({arguments}) first."
    assert said(reader, counts, key=key) == expected
    counts.uns[key or "zinbtools"] = "a stranger's text"
    assert said(reader, counts, key=key) == expected


@pytest.mark.parametrize("reader", ["model", "best metrics", "dropout_df"])
@pytest.mark.parametrize("part", ["params", "weights"])
def test_without_its_settings_there_is_no_fit(reader: str, part: str) -> None:
    adata = fake_fit()
    del adata.uns["zinbtools"][part]
    if (reader, part) in {("best metrics", "weights"), ("dropout_df", "weights")}:
        OF_A_FIT[reader](adata)  # which need no weights
    else:
        assert said(OF_A_FIT[reader], adata).startswith("adata.uns['zinbtools'] holds no fit; run")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (zt.get.ppc_df, "holds no 'ppc'; run zt.tl.ppc(adata, key='run2') first."),
        (zt.get.calibration_df, "holds no 'ppc'; run zt.tl.ppc(adata, checks='pit', key='run2') first."),
        (zt.get.tuning_df, "holds no 'tuning'; run zt.tl.tune(adata, key_added='run2') first."),
        (
            zt.get.verdict,
            "holds no 'model_selection'; run zt.tl.model_selection(adata, key_added='run2') first.",
        ),
        (
            zt.get.zi_replication_df,
            "holds no 'zi_replication'; run zt.tl.zi_replication(adata, key='run2') first.",
        ),
    ],
)
def test_what_follows_a_fit_names_its_verb_and_the_key(call: Callable[..., Any], words: str) -> None:
    adata = fake_fit(key="run2")
    for part in ("ppc", "tuning", "model_selection", "zi_replication"):
        adata.uns["run2"].pop(part, None)
    assert said(call, adata, key="run2") == f"adata.uns['run2'] {words}"


def test_columns_name_their_verb_and_the_key() -> None:
    adata = fake_fit(key="run2")
    del adata.var["run2_zi_score"], adata.obs["run2_nb_marginal_ll"], adata.uns["run2_zero_test"]
    scores, difference, test = (
        said(call, adata, key="run2")
        for call in (zt.get.zi_genes_df, zt.get.nll_difference, zt.get.zero_test_df)
    )
    assert scores.endswith("has no column 'run2_zi_score'; run zt.tl.zi_scores(adata, key='run2') first.")
    assert difference.endswith("'run2_nb_marginal_ll'; run zt.tl.marginal_ll(adata, key='run2') first.")
    assert test.endswith("run zt.tl.zero_test(adata, key_added='run2') first.")


@pytest.mark.parametrize("name", PARTS)
def test_the_call_that_is_told_is_one_that_can_be_made(name: str) -> None:
    part = PARTS[name]
    hint = Record.read(AnnData(), "run2").hint(part.verb, part.asked)
    parameters = inspect.signature(getattr(zt.tl, part.verb)).parameters
    assert set(re.findall(r"(\w+)=", hint)) <= set(parameters)
    assert "='run2'" in hint


def test_the_fitted_models_are_told_in_one_way() -> None:
    adata = fake_fit()
    adata.uns["zinbtools"]["params"]["models"] = ["nb"]
    assert "zinb_zero_fraction" not in zt.get.dropout_df(adata)
    assert said(zt.get.model, adata, "zinb") == "model must be one of nb, found 'zinb'."


@pytest.mark.parametrize(
    ("damage", "call", "words"),
    [
        (lambda fit: fit["weights"].pop("nb"), OF_A_FIT["model"], "['weights']['nb'] lacks 'scale.bias'"),
        (lambda fit: fit["params"].pop("models"), OF_A_FIT["model"], "['params'] lacks 'models'"),
        (lambda fit: fit["params"].pop("models"), zt.get.dropout_df, "['params'] lacks 'models'"),
        (lambda fit: fit["params"].pop("best_restart"), OF_A_FIT["best metrics"], "lacks 'best_restart'"),
        (
            lambda fit: fit["params"].update(best_restart={"zinb": 0}),
            OF_A_FIT["model"],
            "['params']['best_restart'] lacks 'nb'",
        ),
        (lambda fit: fit.update(params=3), OF_A_FIT["model"], "['params'] is no table or dictionary"),
        (lambda fit: fit.update(weights="w"), OF_A_FIT["model"], "['weights'] is no table or dictionary"),
        (lambda fit: fit["metrics"].pop("value"), zt.get.metrics_df, "['metrics'] lacks 'value'"),
        (lambda fit: fit["ppc"]["ks"].pop("position"), zt.get.ppc_ks_df, "['ppc']['ks'] lacks 'position'"),
        (lambda fit: fit["tuning"].pop("best"), zt.get.tuning_summary_df, "['tuning'] holds no 'best'"),
    ],
)
def test_a_damaged_record_is_refused_in_a_sentence(
    damage: Callable[[dict[str, Any]], Any], call: Callable[..., Any], words: str
) -> None:
    adata = fake_fit()
    damage(adata.uns["zinbtools"])
    assert words in said(call, adata)


@pytest.mark.parametrize(
    "reader", [*OF_A_FIT.values(), zt.tl.marginal_ll, zt.tl.zi_scores, zt.get.zi_genes_df, zt.get.ppc_df]
)
def test_of_a_transposed_object_all_say_that_it_is_one(reader: Callable[..., Any]) -> None:
    assert said(reader, fake_fit().T) == (
        "adata is transposed: the fit wrote 'zinbtools_split' of each cell, and it is in adata.var; "
        "give adata.T."
    )
