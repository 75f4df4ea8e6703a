from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from anndata import AnnData
from fake_fit import fake_fit
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from zinbtools import pl, tl
from zinbtools.pl._style import root_figure

PLOTS = sorted(set(pl.__all__) - {"meta"})  # which draws studies and no AnnData; see tl/test_meta.py
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
        models = [text.get_text() for text in ax.get_xticklabels()] == ["NB", "ZINB"]
        assert ax.get_xlabel() or models
        assert ax.get_ylabel() or name in ("verdict", "model_selection")  # whose rows say what they are
        assert ax.get_legend() is not None or models


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
    if name == "consequences":
        tl.consequences(fitted)
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


# dark styles, scanpy's settings, long names


@pytest.mark.parametrize("name", PLOTS)
def test_nothing_is_dark_on_a_dark_page(name: str, adata: AnnData) -> None:
    with plt.style.context("dark_background"):
        figure = draw(name, adata, return_fig=True)
        figure.canvas.draw()
        for ax in figure.axes:
            handles = [] if ax.get_legend() is None else ax.get_legend().legend_handles
            drawn = [*ax.lines, *ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *handles]
            colors = [artist.get_color() for artist in drawn if hasattr(artist, "get_color")]
            assert [color for color in colors if sum(to_rgb(color)) < 0.6] == []
            points = [
                c for group in ax.collections for c in group.get_facecolors()[:1] if name != "zero_study"
            ]
            assert [c for c in points if sum(c[:3]) < 0.6] == []


def test_what_scanpy_was_told_of_figures_is_kept(adata: AnnData) -> None:
    sizes = {"font.size": 16.0, "axes.labelsize": 15.0, "figure.figsize": (5.0, 4.0), "figure.dpi": 50.0}
    with mpl.rc_context(sizes):
        figure = pl.dropout(adata, return_fig=True)
        assert figure.get_size_inches().tolist() == [5.0, 4.0]
        assert figure.dpi == 50
        assert figure.axes[0].xaxis.label.get_size() == 15
    assert pl.dropout(adata, return_fig=True).axes[0].xaxis.label.get_size() == 8


@pytest.mark.parametrize("autosave", [True, False])
def test_figures_are_saved_where_scanpy_saves_them(
    autosave: bool, adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"autosave": autosave, "figdir": tmp_path / "new", "plot_suffix": "_a", "file_format_figs": "png"}
    settings = SimpleNamespace(settings=SimpleNamespace(autoshow=False, **told))
    monkeypatch.setitem(sys.modules, "scanpy", settings)
    for name in ("dropout", "ppc"):
        draw(name, adata)
    pl.history(adata, return_fig=True)
    pl.history(adata, ax=plt.figure().add_subplot())
    found = sorted(path.name for path in tmp_path.rglob("*.png"))
    assert found == (["zinbtools_dropout_a.png", "zinbtools_ppc_a.png"] if autosave else [])


def test_long_names_leave_room_for_the_data(adata: AnnData) -> None:
    long = [f"ENSG00000{i:06d}_A_RATHER_LONG_SYMBOL_{i}" for i in range(adata.n_vars)]
    adata.var_names = long
    adata.uns["zinbtools"]["params"]["var_names"] = long
    adata.uns["zinbtools"]["params"]["fitted_genes"] = long
    figure = pl.zi_scores(adata, return_fig=True)
    figure.canvas.draw()
    assert figure.axes[0].get_position().height > 0.4
    assert all(len(text.get_text()) <= 18 for text in figure.axes[0].texts)
