"""Gene-wise regressions: against scipy's densities, statsmodels and known truth."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from gene_counts import copied, curvature, draw, log_probabilities
from scipy import optimize, sparse, special, stats

from zinbtools.stats.count_models import FAMILIES, Copies, CountFits, fit_counts
from zinbtools.stats.zero_inflation import boundary_pval, dropout_likelihood_ratio

RNG = np.random.default_rng


@pytest.mark.parametrize("per_entry", [False, True])
def test_likelihood_and_expected_zeros_are_those_of_the_estimates(per_entry: bool) -> None:
    x, depth = draw(400, [0.2, 2, 20, 300], 1.5, 0.2)
    covariates = np.stack([np.ones(400), np.arange(400) % 3 == 1, np.linspace(-1, 1, 400)], axis=1)
    means = np.outer(depth, [1.0, 2.0, 3.0, 4.0]) if per_entry else depth
    fits = fit_counts(x, means, covariates=covariates)
    for g in range(4):
        mean = means[:, g] if per_entry else means
        for f in range(4):
            mu = mean * np.exp(covariates @ fits.coefficients[g, f])
            theta, pi = fits.inverse_dispersion[g, f], fits.dropout[g, f]
            by_hand = log_probabilities(x[:, g], mu, theta, pi)
            assert fits.log_likelihood[g, f] == pytest.approx(by_hand.sum(), rel=1e-9)
            zeros = np.exp(log_probabilities(np.zeros(400), mu, theta, pi)).sum()
            assert fits.zeros[g, f] == pytest.approx(zeros, rel=1e-6)
    assert fits.converged.all()


def test_the_gain_is_that_of_each_cell() -> None:
    x, depth = draw(500, [1.0, 10.0], 2.0, 0.3)
    fits = fit_counts(x, depth)
    for g in range(2):
        by_family = []
        for f in (1, 3):
            mu = depth * np.exp(fits.coefficients[g, f, 0])
            by_family.append(
                log_probabilities(x[:, g], mu, fits.inverse_dispersion[g, f], fits.dropout[g, f])
            )
        gain = by_family[1] - by_family[0]
        assert fits.gain[g] == pytest.approx(gain.mean(), rel=1e-7)
        assert fits.gain_se[g] == pytest.approx(gain.std(ddof=1) / np.sqrt(500), rel=1e-7)


@pytest.mark.slow
def test_agrees_with_statsmodels() -> None:
    """On 200 genes with a covariate: the same likelihood within 1e-6, or a higher one."""
    models = pytest.importorskip("statsmodels.discrete.count_model")
    from statsmodels.discrete.discrete_model import NegativeBinomial, Poisson

    random = RNG(2)
    n = 300
    depth, type_ = random.lognormal(0, 0.4, n), (random.random(n) < 0.4).astype(float)
    mu = depth[:, None] * 10 ** random.uniform(-0.7, 1.7, 200) * np.exp(0.5 * type_)[:, None]
    x = random.poisson(random.gamma(1.5, mu / 1.5)) * (random.random(mu.shape) >= np.repeat([0, 0.2], 100))
    design = np.stack([np.ones(n), type_], axis=1)
    fits = fit_counts(x, depth, covariates=design)
    offset, n_compared = np.log(depth), np.zeros(4, dtype=int)
    for g in range(200):
        theirs = {
            "poisson": Poisson(x[:, g], design, offset=offset),
            "nb": NegativeBinomial(x[:, g], design, offset=offset),
            "zip": models.ZeroInflatedPoisson(x[:, g], design, offset=offset),
            "zinb": models.ZeroInflatedNegativeBinomialP(x[:, g], design, offset=offset),
        }
        for f, name in enumerate(FAMILIES):
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = theirs[name].fit(method="bfgs", maxiter=300, disp=0)
            if not result.mle_retvals["converged"] or not np.isfinite(result.llf):
                continue
            n_compared[f] += 1
            assert fits.log_likelihood[g, f] > result.llf * (1 + np.sign(-result.llf) * 1e-6), (g, name)
            if name in ("poisson", "nb") and fits.log_likelihood[g, f] - result.llf < 1e-6:
                np.testing.assert_allclose(fits.coefficients[g, f], result.params[:2], atol=2e-3)
                np.testing.assert_allclose(fits.coefficients_se[g, f], result.bse[:2], rtol=0.02)
    assert (n_compared > [195, 150, 60, 40]).all(), n_compared


def test_truth_is_found() -> None:
    x, depth = draw(20_000, [0.5, 5.0, 50.0], 2.0, 0.2)
    fits = fit_counts(x, depth)
    for g, mean in enumerate([0.5, 5.0, 50.0]):
        assert abs(fits.coefficients[g, 3, 0] - np.log(mean)) < 4 * fits.coefficients_se[g, 3, 0]
        assert abs(np.log(fits.inverse_dispersion[g, 3] / 2)) < 4 * fits.log_inverse_dispersion_se[g, 3]
        logit = np.log(fits.dropout[g, 3] / (1 - fits.dropout[g, 3]))
        assert abs(logit - np.log(0.25)) < 4 * fits.dropout_logit_se[g, 3]


def test_standard_errors_are_those_of_the_curvature() -> None:
    x, depth = draw(300, [5.0], 1.5, 0.25)
    design = np.stack([np.ones(300), np.linspace(-1, 1, 300)], axis=1)
    fits = fit_counts(x, depth, covariates=design)
    for f, (dispersed, inflated) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        at = [*fits.coefficients[0, f]]
        at += [np.log(fits.inverse_dispersion[0, f])] if dispersed else []
        at += [special.logit(fits.dropout[0, f])] if inflated else []

        def height(values: np.ndarray, dispersed: int = dispersed, inflated: int = inflated) -> float:
            mu = depth * np.exp(design @ values[:2])
            theta = np.exp(values[2]) if dispersed else np.inf
            pi = 1 / (1 + np.exp(-values[-1])) if inflated else 0.0
            return log_probabilities(x[:, 0], mu, theta, pi).sum()

        errors = np.sqrt(np.diag(np.linalg.inv(-curvature(height, np.array(at)))))
        np.testing.assert_allclose(fits.coefficients_se[0, f], errors[:2], rtol=1e-4)
        of_theta = errors[2] if dispersed else np.nan
        of_pi = errors[-1] if inflated else np.nan
        assert fits.log_inverse_dispersion_se[0, f] == pytest.approx(of_theta, rel=1e-4, nan_ok=True)
        assert fits.dropout_logit_se[0, f] == pytest.approx(of_pi, rel=1e-4, nan_ok=True)


def test_information_on_the_dropout_is_that_of_the_scores() -> None:
    """Summed over all counts that an NB may have; the share of the dispersion is a mean over cells."""
    x = RNG(0).poisson(RNG(1).gamma(1.5, 2 / 1.5, (20_000, 1)))
    fits = fit_counts(x, np.ones(20_000))
    mu, theta = np.exp(fits.coefficients[0, 1, 0]), fits.inverse_dispersion[0, 1]
    counts = np.arange(500)
    p = np.exp(log_probabilities(counts, np.array(mu), theta, 0))
    of_theta = [log_probabilities(counts, np.array(mu), theta * np.exp(h), 0) for h in (1e-5, -1e-5)]
    scores = np.stack(
        [(counts == 0) / p[0] - 1, (counts - mu) / (1 + mu / theta), np.subtract(*of_theta) / 2e-5]
    )
    about = 20_000 * (p * scores) @ scores.T
    left = about[0, 0] - about[0, 1:] @ np.linalg.solve(about[1:, 1:], about[1:, 0])
    assert fits.information[0] == pytest.approx(left, rel=0.03)
    assert left < 0.2 * about[0, 0]


def test_one_family_contains_the_other() -> None:
    x, depth = draw(200, [*np.geomspace(0.01, 100, 60)], 1.0, 0.05, seed=3)
    ll = fit_counts(x, depth).log_likelihood[x.any(0)]
    poisson, nb, zip_, zinb = ll.T
    assert (nb >= poisson).all()
    assert (zip_ >= poisson).all()
    assert (zinb >= np.maximum(nb, zip_)).all()


@pytest.mark.parametrize("negligible", [0.01, 0.3])
def test_the_best_fit_with_a_negligible_dropout_is_that_of_a_search(negligible: float) -> None:
    """At none, or at the largest that is; where the estimate is smaller, it is the ZINB's."""
    x, depth = draw(400, [0.4, 1, 3, 10, 100, 1000], 1.5, 0.1, seed=5)
    fits = fit_counts(x, depth, negligible_dropout=negligible)
    pi, zinb = fits.dropout[:, fits.of("zinb")], fits.log_likelihood[:, fits.of("zinb")]
    above = pi > negligible
    assert above.all() == (negligible < 0.1)
    np.testing.assert_array_equal(fits.null_log_likelihood[~above], zinb[~above])

    def highest(counts: np.ndarray, pi: float) -> float:
        def minus(at: np.ndarray) -> float:
            return -log_probabilities(counts, np.exp(at[0]) * depth, np.exp(at[1]), pi).sum()

        starts = ([np.log(counts.mean()), log_theta] for log_theta in (0.0, 12.0))
        return -min(optimize.minimize(minus, at, method="Nelder-Mead", tol=1e-8).fun for at in starts)

    for g in np.flatnonzero(above):
        found = max(highest(x[:, g], pi) for pi in (0.0, negligible))
        assert fits.null_log_likelihood[g] == pytest.approx(found, rel=1e-9, abs=1e-7)


def test_the_null_grows_with_what_is_negligible() -> None:
    x, depth = draw(300, [*np.geomspace(0.05, 100, 40)], 1.0, 0.1, seed=6)
    x = x[:, x.any(0)]
    nulls = [fit_counts(x, depth, negligible_dropout=pi) for pi in (0, 0.001, 0.05, 0.2, 0.9)]
    heights = np.array([fits.null_log_likelihood for fits in nulls])
    np.testing.assert_array_equal(heights[0], nulls[0].log_likelihood[:, 1])
    assert (np.diff(heights, axis=0) >= -1e-8).all()
    np.testing.assert_array_equal(heights[-1], nulls[-1].log_likelihood[:, 3])


def test_p_values_of_a_dropout_that_is_just_negligible_are_uniform_up_to_a_half() -> None:
    """And of a smaller one they are larger."""
    random, n, copies = RNG(7), 1500, 400
    depth = random.lognormal(0, 0.3, n)
    mu = np.repeat(2 * depth[:, None], copies, axis=1)
    whole = random.poisson(random.gamma(2.0, mu / 2.0))
    just, smaller = (
        boundary_pval(
            dropout_likelihood_ratio(
                fit_counts(whole * (random.random(mu.shape) >= pi), depth, negligible_dropout=0.1)
            )
        )
        for pi in (0.1, 0.05)
    )
    for level in (0.05, 0.2, 0.4):
        assert stats.binomtest(int((just <= level).sum()), copies, level).pvalue > 0.001
        assert (smaller <= level).sum() < (just <= level).sum()


def test_poisson_counts_have_no_dispersion() -> None:
    random = RNG(4)
    depth = random.lognormal(0, 0.3, 1000)
    x = random.poisson(np.outer(depth, [0.1, 1, 10, 1000]))
    fits = fit_counts(x, depth)
    assert (fits.inverse_dispersion[:, 0] == np.inf).all()
    assert (fits.dropout[:, :2] == 0).all()
    assert (fits.log_likelihood[:, 1] - fits.log_likelihood[:, 0] < 5).all()
    np.testing.assert_allclose(fits.coefficients[:, 0, 0], np.log(x.sum(0) / depth.sum()), atol=1e-8)


def untidy(x: np.ndarray) -> sparse.csc_array:
    """With each count in two parts, in decreasing order of the cells, and zeros among them."""
    n = len(x)
    parts = np.concatenate([x[::-1] - x[::-1] // 2, x[::-1] // 2])
    cells = np.tile(np.r_[np.arange(n)[::-1], np.arange(n)[::-1]], x.shape[1])
    starts = 2 * n * np.arange(x.shape[1] + 1)
    return sparse.csc_array((parts.T.ravel(), cells.astype(np.int32), starts.astype(np.int32)), shape=x.shape)


def test_matrices_are_left_as_they_are() -> None:
    x, depth = draw(50, [0.5, 3], 1.0, 0.1)
    matrix = untidy(x)
    before = [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    for covariates in (None, np.eye(2)[np.arange(50) % 2]):
        fit_counts(matrix, depth, covariates=covariates)
        for part, as_was in zip((matrix.data, matrix.indices, matrix.indptr), before, strict=True):
            np.testing.assert_array_equal(part, as_was)


def test_more_genes_than_are_fitted_at_once() -> None:
    """Each as if it were alone, though cells are sorted by their covariates on the way."""
    x, depth = draw(60, [*np.geomspace(0.2, 20, 130)], 1.0, 0.1)
    x[0] += 1
    means = np.outer(depth, np.linspace(1, 2, 130))
    design = np.eye(3)[np.arange(60) % 3]
    fits = fit_counts(sparse.csr_array(x), means, covariates=design, families=["nb"])
    assert len(fits) == 130
    for g in (0, 63, 64, 65, 127, 128, 129):
        alone = fit_counts(x[:, [g]], means[:, [g]], covariates=design, families=["nb"])
        np.testing.assert_array_equal(fits.log_likelihood[g], alone.log_likelihood[0])
        np.testing.assert_array_equal(fits.coefficients[g], alone.coefficients[0])


def test_matrix_types_and_order_of_genes_and_cells_do_not_matter() -> None:
    x, depth = draw(300, [0.3, 3, 30], 1.0, 0.1)
    plain = fit_counts(x, depth)
    genes, cells = [2, 0, 1], RNG(5).permutation(300)
    for kind in (sparse.csr_array, sparse.csc_array, sparse.coo_matrix, untidy):
        np.testing.assert_array_equal(fit_counts(kind(x), depth).log_likelihood, plain.log_likelihood)
    np.testing.assert_array_equal(fit_counts(x[:, genes], depth).log_likelihood, plain.log_likelihood[genes])
    shuffled = fit_counts(x[cells], depth[cells])
    np.testing.assert_allclose(shuffled.log_likelihood, plain.log_likelihood, rtol=1e-10)


def test_covariates_of_few_kinds_are_as_good_as_of_many() -> None:
    """Cells with the same covariates are fitted as one row; a jitter that makes them all differ changes
    nothing else."""
    x, depth = draw(300, [0.5, 5], 1.0, 0.1)
    design = np.eye(3)[np.arange(300) % 3]
    jitter = design + 1e-12 * RNG(6).random(design.shape)
    few, many = (fit_counts(x, depth, covariates=d) for d in (design, jitter))
    np.testing.assert_allclose(few.log_likelihood, many.log_likelihood, rtol=1e-8)


def test_a_type_without_counts() -> None:
    x, depth = draw(300, [5.0], 1.0, 0.0)
    kind = np.arange(300) % 3
    x[kind == 2] = 0
    fits = fit_counts(x, depth, covariates=np.eye(3)[kind])
    alone = fit_counts(x[kind < 2], depth[kind < 2], covariates=np.eye(2)[kind[kind < 2]])
    np.testing.assert_allclose(fits.log_likelihood[:, :2], alone.log_likelihood[:, :2], rtol=1e-6)


def test_genes_without_counts_and_families_not_asked_for() -> None:
    x, depth = draw(100, [3.0, 3.0], 1.0, 0.0)
    x[:, 1] = 0
    fits = fit_counts(x, depth, families=["nb"])
    assert np.isnan(fits.log_likelihood[1]).all()
    assert np.isnan(fits.log_likelihood[0]).tolist() == [False, False, True, True]
    assert fits.aic[0, 1] == pytest.approx(4 - 2 * fits.log_likelihood[0, 1])
    assert fits.bic[0, 1] == pytest.approx(2 * np.log(100) - 2 * fits.log_likelihood[0, 1])


@pytest.mark.parametrize(
    ("asked", "fitted"),
    [
        ("nb", (0, 1)),
        (["poisson"], (0,)),
        (["zip"], (0, 2)),
        (["zinb"], (0, 1, 3)),
        (("nb", "zip"), (0, 1, 2)),
    ],
)
def test_a_family_comes_with_those_below(asked: object, fitted: tuple[int, ...]) -> None:
    x, depth = draw(100, [3.0], 1.0, 0.2)
    all_, some = fit_counts(x, depth), fit_counts(x, depth, families=asked)  # type: ignore[arg-type]
    others = [f for f in range(4) if f not in fitted]
    for name in ("log_likelihood", "inverse_dispersion", "dropout", "zeros", "coefficients_se"):
        found, expected = getattr(some, name), getattr(all_, name)
        np.testing.assert_allclose(found[:, fitted], expected[:, fitted], rtol=1e-5)
        assert np.isnan(found[:, others]).all()


def test_criteria_count_all_parameters() -> None:
    x, depth = draw(100, [3.0], 1.0, 0.2)
    fits = fit_counts(x, depth, covariates=np.eye(2)[np.arange(100) % 2])
    n_parameters = np.array([2, 3, 3, 4])
    np.testing.assert_allclose(fits.aic, 2 * n_parameters - 2 * fits.log_likelihood)
    np.testing.assert_allclose(fits.bic, np.log(100) * n_parameters - 2 * fits.log_likelihood)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"means": np.ones(9)}, r"means must have shape \(10,\) or \(10, 2\), found \(9,\)"),
        ({"means": np.zeros(10)}, "means must be positive"),
        ({"means": np.r_[np.inf, np.ones(9)]}, "means must be positive and finite"),
        ({"means": np.ones((2, 10))}, r"found \(2, 10\)"),
        ({"covariates": np.ones((10, 2))}, "full rank, found 2 columns of rank 1"),
        ({"covariates": np.ones((9, 1))}, r"covariates must be finite, of shape \(10, p\)"),
        ({"covariates": np.ones(10)}, r"covariates must be finite, of shape \(10, p\), found \(10,\)"),
        ({"covariates": np.full((10, 1), np.nan)}, "covariates must be finite"),
        ({"families": []}, r"families must be some of .*, found \[\]"),
        ({"families": ["cauchy"]}, "families must be some of 'poisson', 'nb', 'zip', 'zinb'"),
        ({"negligible_dropout": 1.0}, "negligible_dropout must be from 0 to below 1, found 1.0"),
    ],
)
def test_what_is_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_counts(np.ones((10, 2)), **{"means": np.ones(10), **arguments})


def test_given_inverse_dispersions_are_in_the_likelihood() -> None:
    """And where they are all the same, they are as good as none."""
    random = RNG(11)
    n, mu = 600, np.tile([1.0, 8.0, 90.0], (600, 1)) * RNG(12).lognormal(0, 0.3, (600, 1))
    given = random.lognormal(0, 1.0, (n, 3))
    x = random.poisson(random.gamma(2 * given, mu / (2 * given))) * (random.random((n, 3)) >= 0.1)
    covariates = np.stack([np.ones(n), np.arange(n) % 2], axis=1)
    fits = fit_counts(x, mu, inverse_dispersions=given, covariates=covariates)
    for g in range(3):
        for f in (1, 3):
            means = mu[:, g] * np.exp(covariates @ fits.coefficients[g, f])
            theta, pi = fits.inverse_dispersion[g, f] * given[:, g], fits.dropout[g, f]
            nb = stats.nbinom(theta, theta / (theta + means))
            by_hand = np.log(pi * (x[:, g] == 0) + (1 - pi) * nb.pmf(x[:, g]))
            assert fits.log_likelihood[g, f] == pytest.approx(by_hand.sum(), rel=1e-9)
            assert fits.zeros[g, f] == pytest.approx((pi + (1 - pi) * nb.pmf(0)).sum(), rel=1e-6)
        assert fits.inverse_dispersion[g, 3] == pytest.approx(2.0, rel=0.35)
        assert fits.dropout[g, 3] == pytest.approx(0.1, abs=0.06)
    same, none = fit_counts(x, mu, inverse_dispersions=np.full((n, 3), 5.0)), fit_counts(x, mu)
    np.testing.assert_allclose(same.log_likelihood, none.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(5 * same.inverse_dispersion[:, 1], none.inverse_dispersion[:, 1], rtol=1e-4)
    with pytest.raises(ValueError, match=r"inverse_dispersions must have shape \(600, 3\), found \(600,\)"):
        fit_counts(x, mu, inverse_dispersions=np.ones(n))
    with pytest.raises(ValueError, match="inverse_dispersions must be positive and finite"):
        fit_counts(x, mu, inverse_dispersions=np.zeros((n, 3)))


def test_given_odds_of_a_dropout_are_in_the_likelihood() -> None:
    """And where they are all the same, they are as good as none."""
    random = RNG(13)
    n, mu = 800, np.tile([1.0, 8.0, 90.0], (800, 1)) * RNG(14).lognormal(0, 0.3, (800, 1))
    given = random.lognormal(0, 1.0, (n, 3))
    lost = random.random((n, 3)) < given * 0.15 / (1 + given * 0.15)
    x = random.poisson(random.gamma(2.0, mu / 2.0)) * ~lost
    covariates = np.stack([np.ones(n), np.arange(n) % 2], axis=1)
    fits = fit_counts(x, mu, dropout_odds=given, covariates=covariates, interval_level=0.9)
    for g in range(3):
        means = mu[:, g] * np.exp(covariates @ fits.coefficients[g, 3])
        theta, pi = fits.inverse_dispersion[g, 3], fits.dropout[g, 3]
        odds = pi / (1 - pi) * given[:, g]
        nb = stats.nbinom(theta, theta / (theta + means))
        own = odds / (1 + odds)
        by_hand = np.log(own * (x[:, g] == 0) + (1 - own) * nb.pmf(x[:, g]))
        assert fits.log_likelihood[g, 3] == pytest.approx(by_hand.sum(), rel=1e-9)
        assert fits.lost[g, 3] == pytest.approx((own * (1 - nb.pmf(0))).sum(), rel=1e-6)
        assert fits.zeros[g, 3] == pytest.approx((own + (1 - own) * nb.pmf(0)).sum(), rel=1e-6)
        nb_alone = stats.nbinom(*_nb(fits, g, mu[:, g] * np.exp(covariates @ fits.coefficients[g, 1])))
        assert fits.gain[g] * n == pytest.approx((by_hand - nb_alone.logpmf(x[:, g])).sum(), abs=1e-6)
        assert fits.dropout_interval[g, 0] < pi < fits.dropout_interval[g, 1]
    assert fits.dropout[2, 3] == pytest.approx(0.15 / 1.15, abs=0.03)
    same, none = fit_counts(x, mu, dropout_odds=np.full((n, 3), 5.0)), fit_counts(x, mu)
    np.testing.assert_allclose(same.log_likelihood, none.log_likelihood, rtol=1e-9)
    of_same = same.dropout[:, 3] / (1 - same.dropout[:, 3])
    np.testing.assert_allclose(5 * of_same, none.dropout[:, 3] / (1 - none.dropout[:, 3]), rtol=1e-4)
    np.testing.assert_allclose(same.information, 25 * none.information, rtol=1e-6)
    with pytest.raises(ValueError, match=r"dropout_odds must have shape \(800, 3\), found \(800,\)"):
        fit_counts(x, mu, dropout_odds=np.ones(n))


def _nb(fits: CountFits, g: int, means: np.ndarray) -> tuple[float, np.ndarray]:
    theta = fits.inverse_dispersion[g, 1]
    return theta, theta / (theta + means)


def reads_of(
    n: int, means: list[float], pi: float, shape: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, Copies]:
    """Counts of reads, what their means are proportional to, and how they were copied."""
    molecules, depth = draw(n, means, 1.5, pi, seed)
    copies = 1 + 20 * RNG(seed + 1).lognormal(0, 0.3, n)
    reads = copied(molecules, copies[:, None], shape, seed)
    return reads, depth * copies, Copies(copies, np.full(n, shape))


def test_reads_without_dropout_are_found_so_and_with_dropout_too() -> None:
    means = [0.3, 2.0, 8.0]
    reads, depth, copies = reads_of(3000, means, 0.0)
    plain, amplified = fit_counts(reads, depth), fit_counts(reads, depth, copies=copies)
    z = amplified.of("zinb")
    assert (plain.dropout[:, z] > 0.05).sum() >= 2
    assert (amplified.dropout[1:, z] < 0.03).all()
    assert (dropout_likelihood_ratio(amplified) < 4).all()
    assert (amplified.log_likelihood[:, 1] > plain.log_likelihood[:, z] + 20).all()
    np.testing.assert_allclose(np.exp(amplified.coefficients[:, 1, 0]), means, rtol=0.15)
    np.testing.assert_allclose(amplified.inverse_dispersion[1:, 1], 1.5, rtol=0.25)
    lost, depth, copies = reads_of(3000, means, 0.25)
    fits = fit_counts(lost, depth, copies=copies, interval_level=0.99)
    assert (fits.dropout_interval[:, 0] < 0.25).all()
    assert (fits.dropout_interval[:, 1] > 0.25).all()
    assert (boundary_pval(dropout_likelihood_ratio(fits))[1:] < 1e-3).all()


def test_a_gene_may_be_copied_more_than_others() -> None:
    molecules, depth = draw(3000, [0.5, 0.5, 4.0, 4.0], 1.5, 0.0)
    copies, factor = np.full(3000, 11.0), np.array([0.6, 1.7, 0.6, 1.7])
    reads = copied(molecules, 1 + 10 * factor, 1.0)
    alike = fit_counts(reads, depth, copies=Copies(copies, np.ones(3000)))
    own = fit_counts(reads, depth, copies=Copies(copies, np.ones(3000), gene_sd=0.5))
    assert (np.abs(own.log_copies[:, 1] - np.log(factor)) < 3 * own.log_copies_se[:, 1]).all()
    assert (own.log_copies_se[:, 1] < 0.15).all()
    np.testing.assert_allclose(alike.log_copies, 0, atol=1e-3)
    assert (own.log_likelihood[:, 1] > alike.log_likelihood[:, 1] + 10).all()


def test_the_likelihood_of_reads_does_not_depend_on_the_order_of_cells_or_genes() -> None:
    reads, depth, copies = reads_of(300, [0.4, 3.0, 20.0], 0.1, shape=0.3)
    copies = Copies(copies.mean, copies.shape, 0.4)
    fits = fit_counts(reads, depth, copies=copies)
    order = RNG(0).permutation(300)
    moved = Copies(copies.mean[order], copies.shape[order], 0.4)
    again = fit_counts(reads[order][:, ::-1], depth[order], copies=moved)
    np.testing.assert_allclose(again.log_likelihood[::-1], fits.log_likelihood, rtol=1e-7)


def test_dispersions_may_differ_between_cells_of_reads_too() -> None:
    reads, depth, copies = reads_of(400, [1.0, 6.0], 0.1)
    ones = np.ones((400, 2))
    same = fit_counts(reads, depth, copies=copies)
    given = fit_counts(reads, depth, copies=copies, inverse_dispersions=ones)
    np.testing.assert_allclose(given.log_likelihood, same.log_likelihood, rtol=1e-9)
    factor = RNG(0).lognormal(0, 1.0, (400, 2))
    other = fit_counts(reads, depth, copies=copies, inverse_dispersions=factor)
    assert (other.log_likelihood[:, 1] < same.log_likelihood[:, 1] - 0.1).any()


@pytest.mark.parametrize(
    ("copies", "words"),
    [
        (Copies(np.ones(50), np.ones(50)), "above 1"),
        (Copies(np.full(50, 5.0), np.zeros(50)), "positive shapes"),
        (Copies(np.full(49, 5.0), np.ones(49)), "mean and shape of each of 50 cells"),
    ],
)
def test_copies_that_cannot_be_are_refused(copies: Copies, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_counts(np.ones((50, 1)), np.ones(50), copies=copies)


@pytest.mark.slow
def test_power_and_level_where_molecules_drop_out_before_they_are_copied() -> None:
    """Of 60 genes half lose a fifth of their molecules' cells: as many are found as from the molecules."""
    n, means = 1500, np.geomspace(1.5, 6, 30).tolist()
    called = {}
    for pi in (0.0, 0.2):
        molecules, depth = draw(n, means, 2.0, pi, seed=5)
        copies = 1 + 20 * RNG(1).lognormal(0, 0.3, n)
        reads = copied(molecules, copies[:, None], 1.0, seed=6)
        given = Copies(copies, np.ones(n), 0.1)
        options = {"families": ("zinb",), "negligible_dropout": 0.01}
        for what, fits in {
            "molecules": fit_counts(molecules, depth, **options),
            "reads": fit_counts(reads, depth * copies, copies=given, **options),
        }.items():
            called[what, pi] = (boundary_pval(dropout_likelihood_ratio(fits)) < 0.01).sum()
    assert called["molecules", 0.2] >= 20
    assert called["reads", 0.2] >= 0.8 * called["molecules", 0.2]
    assert called["reads", 0.0] <= 1
