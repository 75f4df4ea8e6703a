from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from fake_fit import fake_fit

from zinbtools.study import conclusion, summary
from zinbtools.study._table import table_cells, table_text


def with_gain(mean: float, se: float) -> AnnData:
    """Test cells of NLL 200 under the NB whose gains have exactly this mean and standard error."""
    adata = fake_fit()
    test = adata.obs["nb_marginal_ll"].notna().to_numpy()
    wave = np.tile([1.0, -1.0], test.sum() // 2)
    gain = mean + se * np.sqrt(len(wave)) * wave / wave.std(ddof=1)
    adata.obs["nb_marginal_ll"] = adata.obs["zinb_marginal_ll"] = np.nan
    adata.obs.loc[test, "nb_marginal_ll"] = -200.0
    adata.obs.loc[test, "zinb_marginal_ll"] = -200.0 + gain
    return adata


@pytest.mark.parametrize(
    ("mean", "se", "sentence"),
    [
        (
            0.19,
            0.12,
            "NB and ZINB show no difference that these 80 test cells could establish: ZINB minus NB is "
            "0.19 ± 0.12 nats per cell of log likelihood (0.095 % of the NB's negative log likelihood), "
            "within two standard errors of zero.",
        ),
        (
            -0.36,
            0.12,
            "The NB seems to account better for these counts: on 80 test cells its log likelihood is higher "
            "by 0.36 ± 0.12 nats per cell (0.18 % of the NB's negative log likelihood), which is 3.0 "
            "standard errors; another seed or split could turn it.",
        ),
        (
            20.0,
            1.2,
            "The ZINB accounts better for these counts than the NB: on 80 test cells its log likelihood is "
            "higher by 20.0 ± 1.2 nats per cell (10.0 % of the NB's negative log likelihood).",
        ),
        (
            -20.0,
            1.2,
            "The NB accounts better for these counts than the ZINB: on 80 test cells its log likelihood is "
            "higher by 20.0 ± 1.2 nats per cell (10.0 % of the NB's negative log likelihood).",
        ),
    ],
)
def test_the_answer_is_as_certain_as_the_numbers(mean: float, se: float, sentence: str) -> None:
    assert conclusion(with_gain(mean, se)).startswith(f"{sentence} Of all entries ")


def test_zeros_are_those_of_all_entries() -> None:
    adata = fake_fit()
    observed = 100 * (adata.X.toarray() == 0).mean()
    nb, zinb = (100 * adata.var[f"{m}_zero_fraction"].mean() for m in ("nb", "zinb"))
    assert nb < observed - 1
    assert conclusion(adata).endswith(
        f"Of all entries {observed:.1f} % are zero; the NB expects {nb:.1f} % and the ZINB {zinb:.1f} %."
    )


def test_the_split_that_was_evaluated_last_is_named() -> None:
    adata = fake_fit()
    metrics = adata.uns["zinbtools"]["metrics"]
    last = metrics[metrics["metric"] == "nll"].assign(split="validation", value=1.0)
    adata.uns["zinbtools"]["metrics"] = type(metrics)(np.vstack([metrics, last]), columns=metrics.columns)
    assert "80 validation cells" in conclusion(adata)
    assert summary(adata)["nll"].tolist() == [1.0, 1.0]


def test_the_table_is_that_of_the_best_restarts() -> None:
    adata = fake_fit(key="run2")
    metrics = adata.uns["run2"]["metrics"]
    other = metrics.assign(restart=1 - metrics["restart"], value=-1.0)
    adata.uns["run2"]["metrics"] = type(metrics)(np.vstack([other, metrics, other]), columns=metrics.columns)
    table = summary(adata, key="run2")
    assert list(table.index) == ["nb", "zinb"]
    for model in table.index:
        nll = -adata.obs[f"run2_{model}_marginal_ll"].mean()
        assert table.loc[model, "nll"] == pytest.approx(nll)
        assert table.loc[model, "nll_se"] == 0.02
    assert np.isnan(table.loc["nb", "mean_dropout"])
    assert table.loc["zinb", "mean_dropout"] == pytest.approx(
        adata.layers["run2_zinb_dropout"].mean(), rel=1e-5
    )


def test_the_table_reads_well() -> None:
    table = summary(fake_fit())
    nb, zinb = table_cells(table)
    assert nb[0] == "NB"
    assert nb[1] == f"{table.loc['nb', 'nll']:.3f} ± 0.020"
    assert nb[-1] == "–"
    assert zinb[-1] == f"{table.loc['zinb', 'mean_dropout']:.3f}"
    lines = table_text(table).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
