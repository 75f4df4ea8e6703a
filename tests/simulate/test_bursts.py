"""Bursts of two-state promoters, and mixtures of causes: the counts are as the truth beside them says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import zinbtools as zt


@pytest.mark.parametrize("n_alleles", [1, 3])
def test_moments_are_those_of_the_alleles(n_alleles: int) -> None:
    on, off, mean = np.array([0.3, 1.0, 2.0]), np.array([0.5, 1.0, 4.0]), np.array([4.0, 10.0, 2.0])
    adata = zt.simulate.bursting(
        40_000,
        3,
        means=mean,
        frequency=on,
        off_rate=off,
        n_alleles=n_alleles,
        n_types=1,
        library_sd=0.0,
        type_sd=0.0,
        capture=0.2,
        rng=1,
    )
    x = adata.X.toarray()
    variance = mean + mean**2 * off / (on * (on + off + 1)) / n_alleles
    np.testing.assert_allclose(x.mean(0), mean, rtol=0.03)
    np.testing.assert_allclose(x.var(0), variance, rtol=0.05)
    size = mean / n_alleles * (on + off) / (on * off) / 0.2
    np.testing.assert_allclose(adata.var["burst_size"], size, rtol=1e-9)
    assert not adata.var["is_zero_inflated"].any()


def test_frequencies_of_types_change_the_means() -> None:
    adata = zt.simulate.bursting(6000, 40, means=np.full(40, 5.0), frequency_sd=0.7, type_sd=0.0, rng=2)
    on, off = adata.varm["k_on"], adata.var["k_off"].to_numpy()[:, None]
    by_type = np.stack(
        [
            np.asarray(adata.X[(adata.obs["cell_type"] == t).to_numpy()].mean(0)).ravel()
            for t in adata.obs["cell_type"].cat.categories
        ],
        axis=1,
    )
    expected = on / (on + off)
    ratios = np.log(by_type / by_type.mean(1, keepdims=True))
    theirs = np.log(expected / expected.mean(1, keepdims=True))
    assert stats.pearsonr(ratios.ravel(), theirs.ravel())[0] > 0.9
    np.testing.assert_allclose(np.asarray(adata.X.mean(0)).ravel(), 5.0, rtol=0.15)


def test_each_cause_is_what_it_says() -> None:
    adata = zt.simulate.zero_causes(4000, 100, means=np.full(100, 8.0), type_sd=0.0, library_sd=0.0, rng=3)
    var, x = adata.var, adata.X.toarray()
    assert var["cause"].value_counts().to_dict() == dict.fromkeys(
        ["none", "dispersion", "covariate", "bursting", "dropout"], 20
    )
    lost = (adata.layers["true_counts"].toarray() - x).sum(0) > 0
    assert (lost == (var["cause"] == "dropout")).all()
    assert (var["is_zero_inflated"] == lost).all()
    by_sex = np.stack([x[(adata.obs["sex"] == sex).to_numpy()].mean(0) for sex in ("female", "male")])
    assert ((by_sex.min(0) == 0) == (var["cause"] == "covariate")).all()
    slow = (var["cause"] == "bursting").to_numpy()
    assert var.loc[slow, ["k_on", "k_off", "burst_size"]].notna().all(axis=None)
    assert var.loc[~slow, ["k_on", "k_off", "burst_size"]].isna().all(axis=None)
    on, off = var["k_on"], var["k_off"]
    variance = (8 + 64 * off / (on * (on + off + 1)))[slow]
    np.testing.assert_allclose(x[:, slow].var(0), variance, rtol=0.15)
    none = (var["cause"] == "none").to_numpy()
    np.testing.assert_allclose(x[:, none].var(0), 8 + 64 / var["inverse_dispersion"][none], rtol=0.25)


def test_shares_are_kept_and_checked() -> None:
    adata = zt.simulate.zero_causes(50, 40, shares={"none": 3, "bursting": 1})
    assert adata.var["cause"].value_counts().to_dict() == {"none": 30, "bursting": 10}
    with pytest.raises(ValueError, match="shares may name"):
        zt.simulate.zero_causes(50, 40, shares={"magic": 1})
    with pytest.raises(ValueError, match="shares must be 0 or more"):
        zt.simulate.zero_causes(50, 40, shares={"none": 0})


@pytest.mark.parametrize("simulator", [zt.simulate.bursting, zt.simulate.zero_causes])
def test_the_seed_says_all(simulator) -> None:
    first, second, other = (simulator(60, 20, rng=seed).X.toarray() for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
