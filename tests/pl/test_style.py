from __future__ import annotations

import sys
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from anndata import AnnData
from fake_fit import fake_fit
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zinbtools import pl, tl
from zinbtools.pl._style import root_figure

PLOTS = sorted(pl.__all__)
TWO_PANELS = {"power", "zero_causes"}


def draw(name: str, adata: AnnData, **arguments: object) -> object:
    """Any of the plots; that of one gene is told which."""
    return getattr(pl, name)(adata, **({"gene": adata.var_names[3]} if name == "gene" else {}), **arguments)


INLINE = "module://matplotlib_inline.backend_inline"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(plt, "show", lambda: calls.append(True))
    return calls


def first(drawn: Axes | list[Axes]) -> Axes:
    return drawn[0] if isinstance(drawn, list) else drawn


@pytest.mark.parametrize("name", PLOTS)
def test_axes_come_back_where_there_is_no_window(name: str, adata: AnnData, shown: list[bool]) -> None:
    assert isinstance(first(draw(name, adata)), Axes)
    assert not shown


@pytest.mark.parametrize("name", PLOTS)
def test_a_notebook_shows_the_figure(
    name: str, adata: AnnData, shown: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plt, "get_backend", lambda: INLINE)
    monkeypatch.delitem(sys.modules, "scanpy", raising=False)
    assert draw(name, adata) is None
    assert shown == [True]


def test_scanpys_setting_is_followed(
    adata: AnnData, shown: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plt, "get_backend", lambda: INLINE)
    monkeypatch.setitem(sys.modules, "scanpy", SimpleNamespace(settings=SimpleNamespace(autoshow=False)))
    assert isinstance(pl.history(adata), Axes)
    assert not shown
    assert pl.history(adata, show=True) is None
    assert shown == [True]


@pytest.mark.parametrize("name", PLOTS)
def test_the_figure_can_be_had(name: str, adata: AnnData, shown: list[bool]) -> None:
    figure = draw(name, adata, return_fig=True)
    assert isinstance(figure, Figure)
    assert not shown
    if name != "model_selection":  # whose panels are of two widths
        assert figure.get_size_inches()[0] / len(figure.axes) == pytest.approx(3.4)


@pytest.mark.parametrize("name", PLOTS)
def test_axes_that_are_given_are_used_and_not_shown(
    name: str, adata: AnnData, shown: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plt, "get_backend", lambda: INLINE)
    figure, axes = plt.subplots(1, 3)
    given = list(axes) if name == "ppc" else list(axes[:2]) if name in TWO_PANELS else axes[1]
    assert draw(name, adata, ax=given) == given
    assert plt.get_fignums() == [figure.number]
    assert not shown


@pytest.mark.parametrize("name", PLOTS)
def test_labels_are_there_and_the_users_settings_stay(name: str, adata: AnnData) -> None:
    before = dict(mpl.rcParams)
    figure = draw(name, adata, return_fig=True)
    assert dict(mpl.rcParams) == before
    for ax in figure.axes:
        assert ax.get_xlabel()
        assert ax.get_ylabel()
        ticks = [text.get_text() for text in ax.get_xticklabels()]
        assert ax.get_legend() is not None or ticks == ["NB", "ZINB"]


@pytest.mark.parametrize("name", PLOTS)
def test_the_fit_of_a_key_is_drawn(name: str, adata: AnnData) -> None:
    assert first(draw(name, fake_fit(key="run2"), key="run2")) is not None
    with pytest.raises(KeyError, match="run2"):
        draw(name, adata, key="run2")


@pytest.mark.parametrize("name", PLOTS)
def test_what_the_verbs_wrote_is_drawn(name: str, fitted: AnnData) -> None:
    if name == "tuning":  # the other plots need no search
        tl.tune(fitted, max_evals=2, max_epochs=2, n_samples=2, progress=False)
    if name == "power":
        tl.power(fitted)
    if name == "zero_causes":
        tl.explain_zeros(fitted)
    figure = draw(name, fitted, return_fig=True)
    figure.canvas.draw()
    assert all(ax.has_data() for ax in figure.axes)


@pytest.mark.parametrize("name", ["history", "dropout"])
def test_a_fit_of_one_model_is_drawn(name: str, adata: AnnData) -> None:
    results = adata.uns["zinbtools"]
    results["params"]["models"] = ["nb"]
    results["history"] = results["history"].query("model == 'nb'")
    labels = [text.get_text() for text in draw(name, adata).get_legend().get_texts()]
    assert any("NB" in label for label in labels)
    assert not any("ZINB" in label for label in labels)


def test_the_figure_is_the_whole_one() -> None:
    whole = plt.figure()
    assert root_figure(whole.subplots()) is whole
    assert root_figure(whole.subfigures().subplots()) is whole
    plt.close(whole)
