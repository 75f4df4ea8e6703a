"""What is drawn, read from the artists."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from scipy import stats

from zinbtools import get, pl, simulate, tl
from zinbtools.pl._style import COLORS


def legend_of(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def points_of(ax: Axes, i: int) -> NDArray[np.float64]:
    return np.asarray(ax.collections[i].get_offsets())


# history


def test_each_restart_has_its_two_curves_and_its_best_epoch(adata: AnnData) -> None:
    ax = pl.history(adata)
    for (model, _), run in get.history_df(adata).groupby(["model", "restart"]):
        same_color = [line for line in ax.lines if to_hex(line.get_color()) == COLORS[model].lower()]
        curves = [tuple(line.get_ydata()) for line in same_color]
        assert tuple(run["train_elbo"]) in curves
        assert tuple(run["validation_elbo"]) in curves
        best = run.loc[run["validation_elbo"].idxmax()]
        assert (best["validation_elbo"],) in curves


def test_a_wild_first_epoch_does_not_squash_the_axis(adata: AnnData) -> None:
    table = get.history_df(adata)
    assert table["validation_elbo"].min() == -1e5
    low, high = pl.history(adata).get_ylim()
    late = table.loc[table["epoch"] >= 20, ["train_elbo", "validation_elbo"]].to_numpy()
    assert low < late.min() < late.max() < high
    assert high - low < 3 * np.ptp(late)


def test_a_history_without_validation_is_drawn(adata: AnnData) -> None:
    adata.uns["zinbtools"]["history"]["validation_elbo"] = np.nan
    low, high = pl.history(adata).get_ylim()
    assert np.isfinite([low, high]).all()


# ppc


def test_every_gene_is_at_its_observed_and_predicted_value(adata: AnnData) -> None:
    table = get.ppc_df(adata).dropna(subset=["observed", "predicted"])
    for ax, check in zip(pl.ppc(adata), table["check"].unique(), strict=True):
        expected = table.loc[table["check"] == check, ["observed", "predicted"]].to_numpy()
        drawn = points_of(ax, 0)
        np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))
        assert ax.get_xlim() == ax.get_ylim()
        assert ax.get_xlim()[0] < drawn.min() < drawn.max() < ax.get_xlim()[1]
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), ax.lines[0].get_ydata())


def test_points_have_the_color_of_their_model(adata: AnnData) -> None:
    ax = pl.ppc(adata, checks="cv")[0]
    table = get.ppc_df(adata).query("check == 'cv'").dropna(subset=["observed", "predicted"])
    colors = [to_hex(color) for color in ax.collections[0].get_facecolors()]
    drawn = {
        (round(x, 9), round(y, 9), c) for (x, y), c in zip(points_of(ax, 0).tolist(), colors, strict=True)
    }
    expected = {
        (round(row.observed, 9), round(row.predicted, 9), COLORS[row.model].lower())
        for row in table.itertuples()
    }
    assert drawn == expected


def test_of_many_genes_a_line_says_which_model_is_nearer() -> None:
    adata = fake_fit(200, 600)
    table = get.ppc_df(adata).query("check == 'dropout_ratio'")
    assert len(pl.ppc(fake_fit(200, 400), checks="dropout_ratio")[0].lines) == 1  # the diagonal
    *lines, _ = pl.ppc(adata, checks="dropout_ratio")[0].lines
    assert [to_hex(line.get_color()) for line in lines] == [COLORS[model].lower() for model in ("nb", "zinb")]
    for line, model in zip(lines, ("nb", "zinb"), strict=True):
        of_model = table[table["model"] == model].dropna(subset=["observed", "predicted"])
        observed, predicted = np.asarray(line.get_xydata()).T
        assert len(observed) == len(of_model) // 40
        assert (np.diff(observed) >= 0).all()
        n_above = (of_model["predicted"] > np.interp(of_model["observed"], observed, predicted)).sum()
        assert 0.4 < n_above / len(of_model) < 0.6


def test_the_legend_gives_the_distance_of_the_best_restart_and_the_last_split(adata: AnnData) -> None:
    results = adata.uns["zinbtools"]
    metrics = results["metrics"]
    other = metrics[metrics["metric"].str.startswith("ks_")].assign(value=0.987)
    older = other.assign(split="train")
    truth = get.metrics_df(adata, best=True).set_index(["metric", "model"])["value"]["ks_dropout_ratio"]
    results["metrics"] = type(metrics)(np.vstack([older, metrics]), columns=metrics.columns)
    nb, zinb = legend_of(pl.ppc(adata, checks=["dropout_ratio"])[0])
    null = get.ppc_ks_df(adata).query("check == 'dropout_ratio'").set_index("model")
    for label, model in ((nb, "nb"), (zinb, "zinb")):
        low, high = null.loc[model, ["null_low", "null_high"]]
        assert label == f"{model.upper()}, KS {truth[model]:.3f} ({low:.3f}–{high:.3f})"


def test_without_a_null_the_legend_has_no_interval(adata: AnnData) -> None:
    adata.uns["zinbtools"]["ppc"]["ks"][["null_low", "null_high"]] = np.nan
    for kind in ("genes", "distribution"):
        assert all("(" not in label for label in legend_of(pl.ppc(adata, kind=kind)[0]))


@pytest.mark.parametrize("check", ["dropout_ratio", "cv"])
def test_the_distribution_has_the_distance_as_its_largest_gap(adata: AnnData, check: str) -> None:
    results = adata.uns["zinbtools"]["ppc"]
    results["genes"] = results["genes"].dropna(subset=["observed", "nb", "zinb"])
    table = get.ppc_df(adata).query("check == @check")
    ax = pl.ppc(adata, kind="distribution", checks=check)[0]
    *models, seen = ax.lines
    assert len(ax.collections) == 2
    at = np.sort(np.concatenate([line.get_xdata() for line in ax.lines]))

    def share_up_to(line: Any) -> np.ndarray:
        x, y = line.get_xdata(), line.get_ydata()
        assert (y[0], y[-1]) == (0, 1)
        return np.where(at < x[0], 0, y[x.searchsorted(at, "right") - 1])

    for line, model in zip(models, ("nb", "zinb"), strict=True):
        drawn = table[table["model"] == model]
        np.testing.assert_array_equal(line.get_xdata()[1:], np.sort(drawn["predicted"]))
        np.testing.assert_array_equal(seen.get_xdata()[1:], np.sort(drawn["observed"]))
        expected = stats.ks_2samp(drawn["observed"], drawn["predicted"]).statistic
        assert abs(share_up_to(line) - share_up_to(seen)).max() == pytest.approx(expected)
        assert to_hex(line.get_color()) == COLORS[model].lower()


def test_the_kind_must_be_known(adata: AnnData) -> None:
    with pytest.raises(ValueError, match="kind must be one of 'genes', 'distribution', found 'pie'"):
        pl.ppc(adata, kind="pie")


# calibration


@pytest.mark.parametrize("gene", [None, "gene7"])
def test_histograms_are_those_of_the_residuals(adata: AnnData, gene: str | None) -> None:
    ax = pl.calibration(adata, gene=gene)
    histograms = adata.uns["zinbtools"]["ppc"]["residual_histograms"]
    for patch, model in zip(ax.patches[:2], ("nb", "zinb"), strict=True):
        counts = histograms[model].sum(0) if gene is None else histograms[model][7]
        values, edges, _ = patch.get_data()
        np.testing.assert_allclose(values, 20 * counts / counts.sum())
        assert values.mean() == pytest.approx(1)
        assert (edges[0], edges[-1]) == (0, 1)
    frame = get.calibration_df(adata)
    for label, model in zip(legend_of(ax), ("nb", "zinb"), strict=True):
        found = frame[frame["model"] == model]
        p_value = found.loc[found["gene"] == gene, "p_value"].sum()
        share = 100 * (found["p_value_adjusted"] < 0.05).mean()
        end = f"{share:.0f} % of genes rejected" if gene is None else f"p = {p_value:.2g}"
        assert label == f"{model.upper()}, {end}"


def test_genes_without_residuals_are_refused(adata: AnnData) -> None:
    with pytest.raises(KeyError, match="'Actb' has no residuals; name one of the 60 genes"):
        pl.calibration(adata, gene="Actb")
    del adata.uns["zinbtools"]["ppc"]["residuals"]
    with pytest.raises(KeyError, match=r"run zt\.tl\.ppc\(adata, checks='pit'\) first"):
        pl.calibration(adata)


def test_checks_and_axes_that_do_not_fit_are_refused(adata: AnnData) -> None:
    with pytest.raises(KeyError, match="'skewness' not among"):
        pl.ppc(adata, checks=["cv", "skewness"])
    with pytest.raises(ValueError, match="one axes for each of the 3 checks, found 1"):
        pl.ppc(adata, ax=plt.figure().add_subplot())


# dropout


def test_few_genes_are_all_marked(adata: AnnData) -> None:
    frame = get.dropout_df(adata)
    ax = pl.dropout(adata)
    for i, who in enumerate(["observed", "nb", "zinb"]):
        np.testing.assert_allclose(points_of(ax, i), frame[["mean_count", f"{who}_zero_fraction"]])
        assert to_hex(ax.collections[i].get_facecolors()[0]) == COLORS[who].lower()
    assert ax.get_xscale() == "log"


def test_many_genes_have_medians_of_equally_many() -> None:
    adata = fake_fit(100, 430)
    frame = get.dropout_df(adata).query("mean_count > 0").sort_values("mean_count")
    ax = pl.dropout(adata)
    assert len(points_of(ax, 0)) == len(frame)
    observed, nb, zinb = ax.lines
    parts = np.array_split(np.arange(len(frame)), len(nb.get_xdata()))
    assert min(map(len, parts)) >= 40
    inner = frame.iloc[parts[0][:-1]]
    assert inner["mean_count"].min() < nb.get_xdata()[0] < inner["mean_count"].max()
    assert nb.get_ydata()[-1] < zinb.get_ydata()[-1]
    assert nb.get_ydata()[-1] < observed.get_ydata()[-1]
    assert (np.diff(nb.get_xdata()) > 0).all()


def test_genes_without_a_count_do_not_break_the_logarithm(adata: AnnData) -> None:
    counts = adata.X.toarray()
    counts[:, 3] = 0
    adata.X = counts
    del adata.obs["zinbtools_digest"]
    assert len(points_of(pl.dropout(adata), 0)) == adata.n_vars - 1


# zero_study


@pytest.mark.parametrize("spread", [0.0, 1e-9])
def test_equal_probabilities_have_a_density(spread: float, adata: AnnData) -> None:
    noise = np.random.default_rng(0).random(adata.shape)
    adata.layers["zinb_dropout"] = (0.08 + spread * noise).astype(np.float32)
    figure = pl.zero_study(adata, return_fig=True)
    figure.canvas.draw()
    low, high = figure.axes[0].get_xlim()
    assert low < 0.08 < high
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"


def test_kinds_are_named_and_counted_and_sensitivity_lies_on_top(adata: AnnData) -> None:
    ax = pl.zero_study(adata)
    sizes = get.zero_study_df(adata)["kind"].value_counts()
    assert legend_of(ax) == [
        f"Limited sensitivity ({sizes['limited sensitivity']:,})",
        f"Dropout ({sizes['dropout']:,})",
    ]
    red, blue = (contour.get_facecolors()[-1] for contour in ax.collections)
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_unknown_kinds_are_one_cloud(adata: AnnData) -> None:
    del adata.layers["true_counts"]
    ax = pl.zero_study(adata)
    assert legend_of(ax) == [f"Zeros ({(adata.X.toarray() == 0).sum():,})"]
    assert len(ax.collections) == 1


def test_without_truth_all_zeros_are_one_cloud(adata: AnnData) -> None:
    assert legend_of(pl.zero_study(adata, truth=False)) == [f"Zeros ({(adata.X.toarray() == 0).sum():,})"]


def test_the_posterior_shares_each_zero_out(fitted: AnnData) -> None:
    lost = round(float(get.posterior_dropout(fitted).to_numpy().sum(dtype=float)))
    kept = (fitted.X.toarray() == 0).sum() - lost
    ax = pl.zero_study(fitted, truth="posterior")
    assert legend_of(ax) == [f"Limited sensitivity ({kept:,} expected)", f"Dropout ({lost:,} expected)"]
    below, above = ax.collections
    assert (below.filled, above.filled) == (True, False)  # lines hide nothing
    larger, smaller = (
        ("dropout", "limited sensitivity") if lost > kept else ("limited sensitivity", "dropout")
    )
    for drawn, kind in ((below.get_facecolor(), larger), (above.get_edgecolor(), smaller)):
        red, _, blue, _ = np.asarray(drawn)[-1]
        assert (red > blue) == (kind == "dropout")


def test_total_probabilities_are_no_lower(fitted: AnnData) -> None:
    dropout, total = (pl.zero_study(fitted, x=x) for x in ("dropout", "total"))
    assert total.get_xlabel() == "total zero probability"
    assert total.get_xlim()[0] > dropout.get_xlim()[0]
    assert total.get_xlim()[1] <= 1
    assert total.get_ylabel() == dropout.get_ylabel()


def test_several_objects_stand_side_by_side(adata: AnnData) -> None:
    other = fake_fit(300)
    other.layers["zinb_dropout"] = other.layers["zinb_dropout"] ** 2  # further to the left
    axes = pl.zero_study({"first": adata, "second": other})
    assert axes[0].get_xlim()[0] == pytest.approx(pl.zero_study(other).get_xlim()[0], rel=0.1)
    assert [ax.get_title() for ax in axes] == ["first", "second"]
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert axes[0].get_ylim() == axes[1].get_ylim()
    for ax, one in zip(axes, (adata, other), strict=True):
        sizes = get.zero_study_df(one)["kind"].value_counts()
        counted = [text.get_text() for text in ax.texts]
        assert counted == [f"{sizes[kind]:,}" for kind in ("limited sensitivity", "dropout")]
    [legend] = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Limited sensitivity", "Dropout"]
    assert len(pl.zero_study([adata] * 4)) == 4


def test_no_panel_is_cut_off(adata: AnnData) -> None:
    far = adata.copy()
    far.layers["zinb_dropout"] = far.layers["zinb_dropout"] ** 6  # far to the left on a log axis
    axes = pl.zero_study({"near": adata, "far": far})
    low, high = axes[0].get_xlim()
    for ax in axes:
        assert low < ax.dataLim.x0 < ax.dataLim.x1 < high


def test_levels_are_shared_or_each_panels_own(adata: AnnData) -> None:
    flat = adata.copy()
    flat.layers["zinb_dropout"] = flat.layers["zinb_dropout"] ** 3  # the same zeros, drawn out
    shaded = {
        levels: [
            [len(path.vertices) > 0 for path in ax.collections[0].get_paths()]
            for ax in pl.zero_study({"own": adata, "flat": flat}, levels=levels)
        ]
        for levels in ("panel", "shared")
    }
    assert [sum(shades) for shades in shaded["panel"]] == [5, 5]
    assert sum(shaded["shared"][1]) < sum(shaded["shared"][0]) == 5


def test_what_cannot_be_drawn_of_zeros_is_refused(adata: AnnData) -> None:
    with pytest.raises(ValueError, match="x must be one of 'dropout', 'total', found 'mean'"):
        pl.zero_study(adata, x="mean")
    with pytest.raises(ValueError, match="truth must be True or False or 'posterior', found 'all'"):
        pl.zero_study(adata, truth="all")
    with pytest.raises(ValueError, match="levels must be one of 'panel', 'shared', found 3"):
        pl.zero_study(adata, levels=3)
    with pytest.raises(ValueError, match="one axes for each of the 2 objects, found 1"):
        pl.zero_study([adata, adata], ax=plt.figure().add_subplot())
    with pytest.raises(ValueError, match="adata holds no object"):
        pl.zero_study({})


def test_a_handful_of_zeros_are_points(adata: AnnData) -> None:
    true, counts = adata.layers["true_counts"].toarray(), adata.X.toarray()
    lost = np.argwhere((true > 0) & (counts == 0))
    for i, j in lost[7:]:
        counts[i, j] = true[i, j]
    adata.X = counts
    del adata.obs["zinbtools_digest"]
    assert len(points_of(pl.zero_study(adata), 0)) == 7


# zi_scores


def heights(ax: Axes, i: int) -> float:
    return sum(bar.get_height() for bar in ax.containers[i])


@pytest.mark.parametrize("n_vars", [60, 600])
def test_bars_hold_all_genes_and_the_clear_ones(n_vars: int) -> None:
    adata = fake_fit(200, n_vars)
    adata.var.iloc[0, adata.var.columns.get_loc("zi_score_se")] = np.nan
    genes = get.zi_genes_df(adata)
    better = (genes["score"] > 2 * genes["score_se"]).sum()
    worse = (genes["score"] < -2 * genes["score_se"]).sum()
    assert better > 0
    ax = pl.zi_scores(adata)
    assert [heights(ax, i) for i in range(3)] == [len(genes), worse, better]
    assert legend_of(ax) == [f"all ({n_vars})", f"NB better ({worse})", f"ZINB better ({better})"]
    assert ax.get_yscale() == ("linear" if n_vars == 60 else "log")


def test_no_bar_holds_scores_of_both_signs(adata: AnnData) -> None:
    edges = [bar.get_x() for bar in pl.zi_scores(adata).containers[0]]
    assert min(abs(np.array(edges))) < 1e-12


@pytest.mark.parametrize("n_labels", [0, 3])
def test_the_best_genes_are_named(n_labels: int, adata: AnnData) -> None:
    named = [text.get_text() for text in pl.zi_scores(adata, n_labels=n_labels).texts]
    assert named == list(get.zi_genes_df(adata).index[:n_labels])


def test_genes_that_do_not_gain_are_not_named(adata: AnnData) -> None:
    adata.var["zi_score"] = -1.0 - np.arange(adata.n_vars)
    assert not pl.zi_scores(adata).texts


def test_names_do_not_overlap(adata: AnnData) -> None:
    adata.var["zi_score"] = 1.0 + 1e-6 * np.arange(adata.n_vars)
    figure = pl.zi_scores(adata, return_fig=True)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    inner = sorted((box.x1 + box.x0) / 2 for box in boxes)
    assert len(inner) == 5
    assert len(set(np.round(inner))) == 5


@pytest.fixture(scope="module")
def _calls() -> AnnData:
    base = simulate.gamma_poisson(400, 40, means=np.geomspace(0.1, 30, 40))
    adata = simulate.mixed(0.5, base=base, inflation=simulate.Uniform(0.3))
    tl.fit_nb_zinb(adata, models="nb", max_epochs=10, progress=False)
    tl.zi_scores(adata)
    return adata


@pytest.fixture
def calls(_calls: AnnData) -> AnnData:
    return _calls.copy()


def test_the_histogram_shows_the_calls(calls: AnnData) -> None:
    table = get.zi_genes_df(calls)
    counts = {call: (table["call"] == call).sum() for call in ("negligible", "zero-inflated")}
    assert legend_of(pl.zi_scores(calls)) == [
        "all (40)",
        *(f"{call} ({n})" for call, n in counts.items()),
    ]


@pytest.mark.parametrize("kind", ["volcano", "mean"])
def test_every_gene_is_one_point_in_the_color_of_its_call(calls: AnnData, kind: str) -> None:
    table = get.zi_genes_df(calls)
    ax = pl.zi_scores(calls, kind=kind, n_labels=3)
    assert sum(len(points.get_offsets()) for points in ax.collections) == len(table)
    place = legend_of(ax).index("zero-inflated")
    drawn, inflated = points_of(ax, place), table[table["call"] == "zero-inflated"]
    assert to_hex(ax.collections[place].get_facecolors()[0]) == COLORS["zinb"].lower()
    np.testing.assert_allclose(drawn[:, 0], inflated["dropout" if kind == "volcano" else "mean_count"])
    y = -np.log10(inflated["pval"]) if kind == "volcano" else inflated["score"]
    np.testing.assert_allclose(drawn[:, 1], y)
    names = [text.get_text() for text in ax.texts if text.get_text() != "no gain"]
    assert names == list(table.index[:3])


def test_kinds_that_are_not_there_are_refused(adata: AnnData) -> None:
    with pytest.raises(ValueError, match="kind must be one of 'histogram', 'volcano', 'mean', found 'pie'"):
        pl.zi_scores(adata, kind="pie")
    with pytest.raises(KeyError, match="no p values"):
        pl.zi_scores(adata, kind="volcano")


# zero_test


def test_genes_have_the_color_of_their_family(adata: AnnData) -> None:
    table, ax = get.zero_test_df(adata), pl.zero_test(adata)
    for i, (family, some) in enumerate(table.groupby("family")):
        label = {"poisson": "Poisson", "nb": "NB", "zinb": "ZINB"}[str(family)]
        place = legend_of(ax).index(f"{label} ({len(some)})")
        drawn = points_of(ax, place)
        expected = some.sort_values("mean_count")[["mean_count", "observed_zero_fraction"]]
        np.testing.assert_allclose(drawn, expected, err_msg=str(i))


# gene


def test_counts_of_a_gene_are_drawn_with_what_is_expected(adata: AnnData) -> None:
    adata.obs["kind"] = np.where(np.arange(adata.n_obs) % 3 == 0, "a", "b")
    axes = pl.gene(adata, "gene4", groupby="kind", max_count=6)
    assert [ax.get_title() for ax in axes] == ["gene4, b", "gene4, a"]
    x = adata.X[:, 4].toarray().ravel()[(adata.obs["kind"] == "b").to_numpy()]
    heights = [bar.get_height() for bar in axes[0].patches]
    assert heights == [*((x == c).sum() for c in range(6)), (x >= 6).sum()]
    table = get.gene_df(adata, "gene4", groupby="kind", max_count=6)
    for line, model in zip(axes[0].lines, ("nb", "zinb"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), table.loc[table["group"] == "b", model])
    assert abs(table["zinb"].sum() - adata.n_obs) < 1e-6


def test_panels_of_a_gene_are_a_grid_that_says_which_groups_are_left_out(adata: AnnData) -> None:
    adata.obs["kind"] = pd.Categorical([f"type {i % 8}" for i in range(adata.n_obs)])
    axes = pl.gene(adata, "gene4", groupby="kind")
    assert len(axes) == 6
    assert len({round(ax.get_position().y0, 2) for ax in axes}) == 2
    assert axes[0].figure.get_suptitle() == "the 6 largest of 8 groups of kind"
    assert pl.gene(adata, "gene4")[0].get_title() == "gene4"


def test_the_axis_of_counts_is_as_long_as_the_data(adata: AnnData) -> None:
    means = np.asarray(adata.X.mean(axis=0)).ravel()
    for gene in (means.argmin(), means.argmax()):
        x = adata.X[:, gene].toarray().ravel()
        last = int(np.clip(np.quantile(x, 0.99), 5, 1000))
        table = get.gene_df(adata, f"gene{gene}")
        assert table["count"].max() == last
        ax = pl.gene(adata, f"gene{gene}")[0]
        width = 1 if last <= 40 else -(-last // 40)
        heights = [bar.get_height() for bar in ax.patches]
        assert heights[:2] == [(x == 0).sum(), ((x >= 1) & (x <= width)).sum()]
        assert sum(heights) == adata.n_obs
        assert ax.get_xlabel().startswith(f"count ({last} and more")
        for line, model in zip(ax.lines, ("nb", "zinb"), strict=True):
            assert line.get_ydata().sum() == pytest.approx(table[model].sum())
    assert means.max() > 10


def test_genes_are_named_by_their_symbols(adata: AnnData) -> None:
    adata.var["symbol"] = [f"Sym{i}" for i in range(adata.n_vars)]
    adata.var.loc["gene5", "symbol"] = None
    assert pl.gene(adata, "Sym4", gene_symbols="symbol")[0].get_title() == "Sym4"
    assert pl.gene(adata, "gene4", gene_symbols="symbol")[0].get_title() == "Sym4"
    assert pl.gene(adata, "gene5", gene_symbols="symbol")[0].get_title() == "gene5"
    best = get.zi_genes_df(adata).index[0].replace("gene", "Sym")
    assert best in [text.get_text() for text in pl.zi_scores(adata, gene_symbols="symbol").texts]
    with pytest.raises(KeyError, match=r"gene_symbols: 'name' is not in adata\.var"):
        pl.zi_scores(adata, gene_symbols="name")


def test_a_volcano_names_what_is_high(adata: AnnData) -> None:
    adata.var["zi_dropout"], adata.var["zi_pval"] = 0.1, 1.0
    adata.var.loc["gene7", "zi_pval"] = 1e-5
    adata.var["zi_score"] = 1.0
    assert [text.get_text() for text in pl.zi_scores(adata, kind="volcano").texts] == ["gene7"]


def test_genes_without_a_gain_stand_where_it_is_said(adata: AnnData) -> None:
    adata.var["zi_score"] = -1.0
    (text,) = pl.zi_scores(adata, kind="mean").texts
    assert (text.get_text(), text.get_position()[1]) == ("no gain", 1e-6)


def test_a_gene_that_is_not_there(adata: AnnData) -> None:
    with pytest.raises(KeyError, match="gene 'Xist' is not in"):
        pl.gene(adata, "Xist")
    with pytest.raises(ValueError, match="ax is for one panel"):
        pl.gene(adata, "gene3", groupby="zinbtools_split", ax=plt.figure().add_subplot())


# verdict


def test_the_verdict_is_drawn_against_what_makes_no_difference(adata: AnnData) -> None:
    found = get.verdict(adata)
    ax = pl.verdict(adata)
    assert ax.get_title(loc="left") == found.headline
    zero, interval, mean = ax.lines
    row = found.rivals.iloc[0]
    assert tuple(interval.get_xdata()) == (row["zinb_low"], row["zinb_high"])
    assert mean.get_xdata()[0] == row["zinb_gain"]
    assert zero.get_xdata() == [0, 0]
    assert to_hex(interval.get_color()) == COLORS["zinb"].lower()
    rope = found.differences["rope"].iloc[0]
    assert ax.patches[0].get_extents().transformed(ax.transData.inverted()).x1 == pytest.approx(rope)
    low, high = ax.get_xlim()
    assert low < -rope < row["zinb_high"] < high


@pytest.mark.parametrize(
    ("low", "high", "color"),
    [(-9.0, -8.0, COLORS["nb"]), (-9.0, 0.01, "white"), (-0.01, 0.01, "white"), (0.0, 9.0, "white")],
)
def test_a_rival_has_the_color_of_where_its_interval_lies(
    low: float, high: float, color: str, adata: AnnData
) -> None:
    results = adata.uns["zinbtools"]["model_selection"]
    rival = results["rivals"].assign(model="nb-gene-cell", zinb_low=low, zinb_high=high, zinb_gain=low)
    results["rivals"] = pd.concat([results["rivals"], rival], ignore_index=True)
    with plt.style.context("dark_background"):
        ax = pl.verdict(adata)
    assert to_hex(ax.lines[3].get_color()) == to_hex(color)
    assert [text.get_text() for text in ax.texts][1] == "with a dispersion per gene and cell"


def test_what_is_expected_of_zeros_is_told_within_the_figure(adata: AnnData) -> None:
    figure = pl.zero_study(adata, truth="posterior", return_fig=True)
    figure.canvas.draw()
    legend = figure.axes[0].get_legend().get_window_extent()
    assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width
    assert 0 <= legend.y0 < legend.y1 <= figure.bbox.height
