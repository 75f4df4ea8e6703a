"""The verdict in a word, in a sentence and in a notebook."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit

from zinbtools import get
from zinbtools._words.answers import Answer, Explanation
from zinbtools.get._headline import SYMBOLS, plain


@pytest.fixture(scope="module")
def made() -> AnnData:
    return fake_fit()


@pytest.mark.parametrize("answer", list(Answer))
def test_each_answer_has_its_word_its_sign_and_its_sentence(answer: Answer, made: AnnData) -> None:
    adata = made.copy()
    adata.uns["zinbtools"]["model_selection"]["verdict"] = answer.value
    found = get.verdict(adata)
    assert found.sentence.startswith(f"{found.headline}: ")
    assert found.symbol == SYMBOLS[answer]
    assert re.fullmatch(r"[A-Z][^.]+\.", found.plain)
    assert found.plain.count("ZINB") == 1
    assert f"{found.numbers} {' '.join(found.cautions)}" == found.sentence


def test_no_two_answers_are_alike() -> None:
    assert len(set(SYMBOLS.values())) == len(Answer)


@pytest.mark.parametrize("explained", list(Explanation))
def test_what_explains_a_better_fit_is_said(explained: Explanation, made: AnnData) -> None:
    adata = made.copy()
    found = adata.uns["zinbtools"]["model_selection"]
    found |= {"verdict": Answer.BETTER_FIT_ONLY.value, "explained_by": explained.value}
    others = {plain(found | {"explained_by": other.value}) for other in Explanation if other != explained}
    assert plain(found) not in others


@pytest.mark.parametrize(
    ("difference", "rope", "words"),
    [(7.7, 0.14, "better, by 55 times what would matter,"), (0.2, 0.14, "better by more than would matter,"),
     (7.7, 0.0, "better by more than would matter,")],
)  # fmt: skip
def test_a_difference_is_held_against_what_would_matter(
    difference: float, rope: float, words: str, made: AnnData
) -> None:
    adata = made.copy()
    found = adata.uns["zinbtools"]["model_selection"]
    found["verdict"] = Answer.ZINB.value
    found["differences"][["difference", "rope"]] = difference, rope
    assert words in plain(found)


@pytest.mark.parametrize(
    ("causes", "words"),
    [
        (["dropout"] * 2, "; of 2 zero-inflated genes dropout fits 2 better than bursts do."),
        (
            ["dropout", "bursting", "bursting", "cannot tell"],
            "; of 4 zero-inflated genes dropout fits 1 better than bursts do, bursts fit 2 better than "
            "dropout does, 1 may be either.",
        ),
        ([], "does not explain all of the zeros."),
    ],
)
def test_zero_inflation_is_not_called_dropout_where_genes_are_in_bursts(
    causes: list[str], words: str, made: AnnData
) -> None:
    found = dict(made.uns["zinbtools"]["model_selection"], verdict=Answer.ZINB.value)
    genes = [f"gene{number}" for number in range(len(causes))]
    found["calls"] = pd.DataFrame(
        {"gene": genes, "call": "zero-inflated", "explained_by": "", "on_in": "", "cause": causes}
    )
    assert plain(found).endswith(words)
    assert ("bursts" in plain(found)) == bool(causes)


@pytest.mark.parametrize(
    ("rivals", "groups", "words"),
    [
        (["nb", "nb-gene-cell"], False, "and a dispersion that differs between cells does not explain all"),
        (
            ["nb", "nb-amplified"],
            False,
            "neither a dispersion that differs between cells nor copies of molecules",
        ),
        (["nb"], True, "nor differences between the groups explain all of the zeros"),
    ],
)
def test_what_was_asked_and_does_not_explain_the_zeros_is_named(
    rivals: list[str], groups: bool, words: str, made: AnnData
) -> None:
    found = dict(made.uns["zinbtools"]["model_selection"], verdict=Answer.ZINB.value)
    found["rivals"] = pd.DataFrame({"model": rivals})
    found.pop("groups", None)
    if groups:
        found["groups"] = pd.DataFrame()
    assert words in plain(found)


def test_a_notebook_shows_the_answer_before_the_numbers(made: AnnData) -> None:
    adata = made.copy()
    found = get.verdict(adata)
    html = found._repr_html_()
    parts = [found.headline, found.plain, "log likelihood minus", found.cautions[0], "<table", "rope"]
    assert [html.index(part) for part in parts] == sorted(html.index(part) for part in parts)
    assert repr(found) == str(found)


def test_names_of_genes_cannot_break_a_notebook(made: AnnData) -> None:
    adata = made.copy()
    calls = adata.uns["zinbtools"]["model_selection"]["calls"]
    calls["gene"] = "<script>"
    html = get.verdict(adata)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
