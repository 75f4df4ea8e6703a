"""An AnnData as a fit and what follows it leave it, with the truth in place of estimates.

test_fake_fit.py holds it against what the verbs write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse, stats

from zinbtools import tl
from zinbtools._anndata.counts import look
from zinbtools._anndata.covariates import Covariates, store_covariates
from zinbtools._anndata.results import storable
from zinbtools._record import parts
from zinbtools._record.keys import ZI_COLUMNS, Keys
from zinbtools._record.parts import Metric, Part
from zinbtools._words.answers import Cause
from zinbtools._words.models import MODELS
from zinbtools.model.config import FitConfig
from zinbtools.model.vae import CountVAE, Shape
from zinbtools.stats.calibration import ResidualSums
from zinbtools.stats.crossed import crossed_mean
from zinbtools.stats.discrepancies import CHECKS as KNOWN
from zinbtools.stats.equivalence import conclude, default_rope, position
from zinbtools.stats.zero_excess import zero_excess
from zinbtools.tl._asked import asked

BEST_RESTART = {"nb": 1, "zinb": 0}
CHECKS = ("dropout_ratio", "zeros_to_expression", "cv")
WORDS = ("label", "short", "reading")
SEARCHED = {
    **{"seed": 0, "order_seed": 1, "draw_seed": 2, "n_samples": 100, "proposal": "laplace"},
    **{"protocol": "default", "models": ["nb", "zinb"], "space": "custom", "shared": True, "max_evals": 8},
    **{"max_queue_len": 1, "prune": True, "search_seed": 3, "version": version("zinbtools")},
}
CONFIG = FitConfig(n_latent=1, n_hidden=8, max_epochs=40)


def fake_fit(
    n_obs: int = 400,
    n_vars: int = 60,
    *,
    key: str | None = None,
    dropout: float = 0.15,
    seed: int = 0,
    calls: bool = False,
) -> AnnData:
    """Counts of a ZINB with dropout in every second gene, and every result that the verbs would write.

    The "NB" has the ZINB's mean lowered to what is seen; ``layers["true_counts"]`` is the truth. Genes
    are scored as by ``zi_scores(method="predictive")``, and with ``calls`` as by the default method.
    """
    rng = np.random.default_rng(seed)
    keys = Keys(key)
    inflated = np.arange(n_vars) % 2 == 0
    theta = rng.gamma(4.0, 1.0, n_vars)
    depth = rng.lognormal(0.0, 0.3, (n_obs, 1))
    mean = depth * 10 ** rng.uniform(-1.5, 1.5, n_vars)
    pi = np.where(inflated, dropout, 0.01) * rng.uniform(0.5, 1.5, (n_obs, 1)) * np.ones(n_vars)
    true = rng.poisson(rng.gamma(theta, mean / theta))
    counts = np.where(rng.random(true.shape) < pi, 0, true)
    means = {"nb": mean * (1 - pi), "zinb": mean}
    zero = {m: (theta / (theta + means[m])) ** theta for m in MODELS}
    zero["zinb"] = pi + (1 - pi) * zero["zinb"]

    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.var_names = [f"gene{i}" for i in range(n_vars)]
    adata.obs_names = [f"cell{i}" for i in range(n_obs)]
    adata.layers["true_counts"] = sparse.csr_matrix(true.astype(np.float32))
    split = np.repeat(["train", "validation", "test"], [n_obs - 2 * (n_obs // 5)] + 2 * [n_obs // 5])
    for name in (keys.split, keys.tuning_split):
        adata.obs[name] = pd.Categorical(split, categories=["train", "validation", "test"])
    adata.obs[keys.digest] = look(adata, None, np.arange(n_vars))[1].digests
    test = split == "test"

    log_p = {m: stats.nbinom.logpmf(counts, theta, theta / (theta + means[m])) for m in MODELS}
    log_p["zinb"] = np.where(counts == 0, np.log(zero["zinb"]), np.log1p(-pi) + log_p["zinb"])
    gain = (log_p["zinb"] - log_p["nb"])[test]
    for m in MODELS:
        adata.layers[keys.mean(m)] = means[m].astype(np.float32)
        adata.obsm[keys.latent(m)] = np.log(depth).astype(np.float32)
        adata.obs[keys.marginal_ll(m)] = np.where(test, log_p[m].sum(axis=1), np.nan)
        adata.obs[keys.pareto_k(m)] = np.where(test, 0.4, np.nan)
        adata.var[keys.inverse_dispersion(m)] = theta
        adata.var[keys.zero_fraction(m)] = zero[m].mean(axis=0)
    adata.layers[keys.dropout()] = pi.astype(np.float32)
    adata.var[keys.mean_dropout()] = pi.mean(axis=0)
    adata.var[keys.score] = gain.mean(axis=0)
    adata.var[keys.score_se] = gain.std(axis=0, ddof=1) / np.sqrt(test.sum())
    if calls:
        _call(adata, keys)
    checks, distances = _checks(
        adata, counts[test], {m: means[m][test] for m in MODELS}, theta, pi[test], rng
    )
    residuals = {
        m: _residuals(counts[test], means[m][test], theta, pi[test] * (m == "zinb"), rng) for m in MODELS
    }
    adata.uns[keys.uns] = named(
        {
            parts.PARAMS: _params(adata, keys),
            parts.WEIGHTS: {m: _weights(m, n_vars) for m in MODELS},
            parts.HISTORY: _history(rng),
            parts.METRICS: _metrics(adata, keys, checks, float(pi.mean())),
            parts.NLL_BY_DRAWS: _nll_by_draws(),
            parts.PPC: dict(zip(parts.PPC.holds, (20, 19, "test", "posterior"), strict=True))
            | named(
                {
                    parts.PPC_GENES: checks,
                    parts.PPC_KS: distances,
                    parts.PPC_CHECKS: table(
                        parts.PPC_CHECKS,
                        [(c, *(getattr(KNOWN[c], words) for words in WORDS), "both", "") for c in CHECKS],
                    ),
                    parts.PPC_RESIDUALS: pd.DataFrame({"gene": adata.var_names.to_numpy()}).assign(
                        **{f"{m}_{k}": v for m in MODELS for k, v in residuals[m].test()._asdict().items()}
                    ),
                    parts.PPC_HISTOGRAMS: {m: residuals[m].histogram for m in MODELS},
                }
            ),
            parts.TUNING: _tuning(rng),
            parts.SELECTION: _selection(adata, keys, gain.sum(axis=1)),
            parts.ZI_REPLICATION: _replication(adata),
            parts.POWER: _power(adata),
            parts.ZERO_CAUSES: _causes(adata, keys),
            parts.CONSEQUENCES: _consequences(),
        }
    )
    tl.zero_test(adata, key_added=key)
    return adata


def named(values: dict[Part, Any]) -> dict[str, Any]:
    """By the names that the parts have."""
    return {part.name: value for part, value in values.items()}


def table(part: Part, rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows under the names of a part's columns."""
    return pd.DataFrame(list(rows), columns=part.holds)


def _params(adata: AnnData, keys: Keys) -> dict[str, Any]:
    """As after a comparison, which keeps to the split that is there."""
    settings = asked(adata, keys, split=keys.split).of_models(dict.fromkeys(MODELS, CONFIG))
    return storable(
        {
            **settings.stored(),
            "covariates": store_covariates(Covariates()),
            "n_cells": adata.n_obs,
            "n_restarts": 2,
            "draw_seed": 0,
            "best_restart": BEST_RESTART,
            "version": version("zinbtools"),
        }
    ) | {"counts": "molecules", "counts_sign": ""}


def _weights(model: str, n_vars: int) -> dict[str, np.ndarray]:
    """Zeros, of the right shapes."""
    with torch.device("meta"):
        state = CountVAE(model, Shape(n_vars, 1, 0), CONFIG, 2).state_dict()
    return {name: np.zeros(value.shape, dtype=np.float32) for name, value in state.items()}


def _call(adata: AnnData, keys: Keys) -> None:
    """Calls by the score alone."""
    z = adata.var[keys.score] / adata.var[keys.score_se]
    pval = np.exp(-(np.clip(z, 0, None) ** 2) / 2)
    call = np.select([z > 3, z > 1], ["zero-inflated", "undecided"], "negligible")
    dropout = adata.var[keys.mean_dropout()]
    adjusted, words = np.minimum(2 * pval, 1), pd.Categorical([""] * adata.n_vars)
    interval = np.maximum(dropout - 0.05, 0), np.minimum(dropout + 0.05, 1)
    numbers = pval, adjusted, dropout, *interval, dropout / 2, dropout * 0 + 0.9
    for what, values in zip(ZI_COLUMNS[:-2], (*numbers, pd.Categorical(call), words, words), strict=True):
        adata.var[keys.zi(what)] = values
    adata.var[keys.zi("cells_needed")] = np.where(call == "undecided", 5000.0, np.nan)


def _power(adata: AnnData) -> dict[str, Any]:
    """Power that grows with the mean and the number of cells."""
    means, sizes = np.asarray(adata.X.mean(axis=0)).ravel(), (100, 400, 1600, 6400)
    genes = [*zip(adata.var_names, means, strict=True)]
    needed = [(gene, mean, 2.0, "undecided", 0.1, 1.0, 1e4 / (mean + 0.01)) for gene, mean in genes]
    of_genes = [(gene, 0.1, 1.0, n, n / (n + 500 / (m + 0.01))) for n in sizes for gene, m in genes]
    verdict = [(n, n // 10, 3, 0.5, *(2 * (n / (n + 900), 0.0, 0.0))) for n in sizes]
    params = {"power": 0.8, "alpha": 0.05, "negligible_dropout": 0.01, "n_obs": adata.n_obs}
    return named(
        {
            parts.POWER_NEEDED: table(parts.POWER_NEEDED, needed),
            parts.POWER_GENES: table(parts.POWER_GENES, of_genes),
            parts.POWER_VERDICT: table(parts.POWER_VERDICT, verdict),
        }
    ) | {"params": storable(params | {"difference": None})}


def _causes(adata: AnnData, keys: Keys) -> dict[str, Any]:
    """Causes by the mean alone, and a margin of a tenth of a nat."""
    means = np.asarray(adata.X.mean(axis=0)).ravel()
    causes = [Cause.NONE, Cause.CANNOT_TELL, Cause.DROPOUT, Cause.BURSTING]
    rows = []
    for gene, mean in zip(adata.var_names, means, strict=True):
        cause = causes[np.digitize(mean, [0.5, 3.0, 10.0])]
        numbers = [0.1, 0.02, 1e-6, 1e-5, 5000.0, 0.2, 0.5, 0.1, 2 * mean, 0.2]
        rows.append((gene, mean, 0.2, cause.value, *numbers))
        if cause == Cause.NONE:
            rows[-1] = (*rows[-1][:4], *np.full(len(numbers), np.nan))
    genes = table(parts.CAUSES_GENES, rows)
    words = pd.Categorical(genes["cause"], categories=[cause.value for cause in Cause])
    adata.var[keys.zero_cause] = words
    adata.var[keys.zero_cause_margin] = genes["margin"].to_numpy()
    adata.var[keys.zero_cause_margin_se] = genes["margin_se"].to_numpy()
    params = {"alpha": 0.05, "n_cells": adata.n_obs, "split": "all", "counts": "molecules"}
    return named({parts.CAUSES_GENES: genes}) | {"params": storable(params)}


def _replication(adata: AnnData) -> dict[str, Any]:
    """Two halves that agree in every gene."""
    halves, genes = ("1a", "1b"), adata.var_names
    tested = [(gene, 1.0, 0.1, 0.01, 0.02, 0.2, "zero-inflated", half) for half in halves for gene in genes]
    return named(
        {
            parts.ZI_PARTS: table(parts.ZI_PARTS, [(1, half, adata.n_obs // 2, "") for half in halves]),
            parts.ZI_GENES: table(parts.ZI_GENES, tested),
        }
    ) | {"params": {"alpha": 0.05}}


def _consequences() -> dict[str, Any]:
    """The models differ in the neighbours and in nothing else."""
    restarts = [(m, r) for m in MODELS for r in range(2)]
    levels = {
        "neighbours": (0.7, 0.5),
        "clusters": (0.8, 0.78),
        "variable genes": (0.9, 0.9),
        "markers": (0.95, 0.94),
    }
    pairs = [
        (measure, *a, *b, within if a[0] == b[0] else between + 0.01 * (a[1] - b[1]))
        for measure, (within, between) in levels.items()
        for a, b in combinations(restarts, 2)
        if a[1] != b[1]
    ]
    measures = [
        (
            measure,
            within,
            within,
            between,
            *((0.02, "outside") if measure == "neighbours" else (0.6, "inside")),
        )
        for measure, (within, between) in levels.items()
    ]
    tables = {
        parts.CONSEQUENCES_MEASURES: table(parts.CONSEQUENCES_MEASURES, measures),
        parts.CONSEQUENCES_PAIRS: table(parts.CONSEQUENCES_PAIRS, pairs),
    }
    params = {
        "n_neighbors": 15,
        "clustering": "ward",
        "n_clusters": 8,
        "n_top_genes": 10,
        "n_cells": 300,
        "alpha": 0.05,
    }
    told = "The choice of the model changes more than another seed does: these numbers were made up."
    return named(tables) | {"position": "outside", "sentence": told, "params": params}


def _nll_by_draws() -> pd.DataFrame:
    rows = [(m, r, "test", n, 200.0 + 1 / n) for m in MODELS for r in range(2) for n in (1, 64, 100)]
    return table(parts.NLL_BY_DRAWS, rows)


def _selection(adata: AnnData, keys: Keys, gain: np.ndarray) -> dict[str, Any]:
    """The comparison as if both restarts had the gains of the truth."""
    found, nll = crossed_mean(gain[None]), -float(adata.obs[keys.marginal_ll("nb")].mean())
    low, high = found.interval()
    rope = default_rope(nll)
    where = position(low, high, rope)
    spread = float(found.df), found.sd_columns, 0.0, found.n_columns, 2, 1
    difference = ("zinb", found.mean, found.se, low, high, *spread, nll - found.mean, rope, where)
    test = (adata.obs[keys.split] == "test").to_numpy()
    observed = (adata.X[test].toarray() == 0).sum(0).astype(float)
    expected = observed * np.where(np.arange(adata.n_vars) % 2, 1.0, 0.8)
    null = np.random.default_rng(0).normal(scale=np.sqrt(observed / 2 + 1), size=(50, adata.n_vars))
    excess = zero_excess(observed, expected, null, np.zeros_like(null))
    null_of_gene = excess.null_mean, excess.null_sd, excess.pval, excess.pval_adj
    zeros = zip(adata.var_names, observed, expected, *null_of_gene, strict=True)
    shares = excess.share, excess.null_share, excess.null_share_sd, excess.pval_pooled
    numbers = int(test.sum()), float((expected + excess.null_mean).sum())
    pooled = (*numbers, *shares, excess.n_genes(0.025), adata.n_vars, excess.found(0.05))
    z = adata.var[keys.score] / adata.var[keys.score_se]
    called = [(gene, 0.2, 0.15, 0.25, "zero-inflated", "", "") for gene in adata.var_names[z > 3]]
    calls = table(parts.CALLS, called).assign(cause=Cause.DROPOUT.value)
    over_zinb, of_zinb = (-found.mean, -high, -low), (found.mean, low, high)
    rival = ("nb", 0.0, 0.0, 0.0, *over_zinb, *of_zinb, where, excess.found(0.05), 2)
    runs = 0.3, 0.2, 2, 2, 0.9
    tests = [
        ("nll", *runs, 0.04, 0.9, 0.16, "zinb"),
        *((f"ks_{name}", *runs, 0.12, 0.9, 0.16, "") for name in CHECKS),
    ]
    by_restart = [("zinb", 0, 0, 0.98 * found.mean), ("zinb", 0, 1, 1.02 * found.mean)]
    return named(
        {
            parts.DIFFERENCES: table(parts.DIFFERENCES, [difference]),
            parts.BY_RESTART: table(parts.BY_RESTART, by_restart),
            parts.TESTS: table(parts.TESTS, tests),
            parts.ZEROS: table(parts.ZEROS, zeros),
            parts.POOLED_ZEROS: dict(zip(parts.POOLED_ZEROS.holds, pooled, strict=True)),
            parts.RIVALS: table(parts.RIVALS, [rival]),
            parts.CALLS: calls,
        }
    ) | {
        "params": {
            "n_restarts": 2,
            "folds": 1,
            "alpha": 0.05,
            "n_samples": 20,
            "n_null": 50,
            "proposal": "laplace",
            "seed": 0,
        },
        "excess_zeros": excess.found(0.05),
        "verdict": conclude(where, excess.found(0.05)),
        "explained_by": "",
        "cautions": np.array(["Caution: these numbers were made up."], dtype=object),
        "sentence": "The comparison as if both restarts had the gains of the truth.",
    }


def _checks(
    adata: AnnData,
    counts: np.ndarray,
    means: dict[str, np.ndarray],
    theta: np.ndarray,
    pi: np.ndarray,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    draws: dict[str, list[dict[str, np.ndarray]]] = {m: [] for m in MODELS}
    for m in MODELS:
        for _ in range(39):
            draw = rng.poisson(rng.gamma(theta, means[m] / theta))
            if m == "zinb":
                draw = np.where(rng.random(draw.shape) < pi, 0, draw)
            draws[m].append(_discrepancies(draw))
    observed = _discrepancies(counts)
    genes, distances = [], []
    for check in CHECKS:
        drawn = {m: np.array([d[check] for d in draws[m]]) for m in MODELS}
        first = {m: drawn[m][:20] for m in MODELS}
        predicted = {m: first[m].mean(axis=0) for m in MODELS}
        of_model = {
            m: (
                predicted[m],
                np.full(adata.n_vars, np.nan),
                first[m].std(axis=0, ddof=1),
                ((first[m] > observed[check]).sum(axis=0) + 0.5) / 21,
            )
            for m in MODELS
        }
        columns = dict(zip(parts.PPC_GENES.holds, (adata.var_names, check, observed[check]), strict=True))
        for end, values in zip(parts.PREDICTED, zip(*of_model.values(), strict=True), strict=True):
            columns |= {f"{m}{end}": value for m, value in zip(MODELS, values, strict=True)}
        genes.append(pd.DataFrame(columns))
        for m in MODELS:
            null = [_ks(draw, predicted[m]) for draw in drawn[m][20:]]
            ks, each = _ks(observed[check], predicted[m]), [_ks(observed[check], d) for d in first[m]]
            of_null = (np.sum(null < ks) + 0.5) / 20, np.mean(null), min(null), max(null)
            between = np.mean([_ks(a, b) for a, b in pairwise(drawn[m])])
            distances.append((check, m, ks, *of_null, np.mean(each), np.std(each), between))
    return pd.concat(genes, ignore_index=True), table(parts.PPC_KS, distances)


def _ks(first: np.ndarray, second: np.ndarray) -> float:
    defined = np.isfinite(first) & np.isfinite(second)
    return stats.ks_2samp(first[defined], second[defined]).statistic


def _residuals(
    counts: np.ndarray, mean: np.ndarray, theta: np.ndarray, pi: np.ndarray, rng: np.random.Generator
) -> ResidualSums:
    p = theta / (theta + mean)
    below, point = stats.nbinom.cdf(counts - 1, theta, p), stats.nbinom.pmf(counts, theta, p)
    below, point = (
        np.where(counts > 0, pi, 0) + (1 - pi) * below,
        np.where(counts > 0, 0, pi) + (1 - pi) * point,
    )
    return ResidualSums.from_residuals(below + rng.random(counts.shape) * point)


def _discrepancies(counts: np.ndarray) -> dict[str, np.ndarray]:
    n_zeros, total = (counts == 0).sum(axis=0), counts.sum(axis=0).astype(float)
    total[total == 0] = np.nan
    return {
        "dropout_ratio": np.where(np.isnan(total), np.nan, n_zeros / len(counts)),
        "zeros_to_expression": n_zeros * (len(counts) - n_zeros) / total,
        "cv": counts.std(axis=0) * len(counts) / total,
    }


def _history(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for m in MODELS:
        for restart in range(2):
            epochs = np.arange(40)
            train = -160.0 - 60 * np.exp(-epochs / 5) - (3 if m == "nb" else 0) + rng.normal(0, 0.3, 40)
            validation = train - 2 - 0.05 * epochs + rng.normal(0, 0.5, 40)
            validation[0] = -1e5
            columns = m, restart, epochs, train, validation, 4e-3
            rows.append(pd.DataFrame(dict(zip(parts.HISTORY.holds, columns, strict=True))))
    return pd.concat(rows, ignore_index=True)


def _tuning(rng: np.random.Generator) -> dict[str, object]:
    n_trials, best = 8, {"nb": 171.0, "zinb": 168.0}
    trials = table(
        parts.TRIALS,
        (
            (trial, m, "ok", "ok", 169.5 + trial, best[m] + trial, 0.03, -best[m] - trial - 3, 40, "")
            for trial in range(n_trials)
            for m in MODELS
        ),
    )
    trials.insert(9, "n_hidden", np.repeat(rng.choice([64, 128], n_trials), 2))
    return named(
        {
            parts.TRIALS: trials,
            parts.SUMMARY: table(parts.SUMMARY, [(m, 0, best[m] + 2, best[m], 2.0, 0.3) for m in MODELS]),
            parts.BEST: {m: {"n_hidden": 64} for m in MODELS},
        }
    ) | {"params": storable({**asdict(CONFIG), **SEARCHED})}


def _metrics(adata: AnnData, keys: Keys, checks: pd.DataFrame, mean_dropout: float) -> pd.DataFrame:
    rows = []
    for m, restart in BEST_RESTART.items():
        nll = -adata.obs[keys.marginal_ll(m)].mean()
        rows += [Metric(m, r, "validation", "elbo", -nll - 3.0 - (r != restart)) for r in range(2)]
        others = [0.0 if r == restart else 1.0 for r in range(2)]  # by how much a restart is worse
        rows += [Metric(m, r, "test", "elbo", -nll - 2.0 - worse) for r, worse in enumerate(others)]
        rows += [Metric(m, r, "test", "nll", nll + worse, 0.02) for r, worse in enumerate(others)]
        for check, of_check in checks.groupby("check"):
            pair = of_check[["observed", m]].dropna()
            ks = stats.ks_2samp(pair["observed"], pair[m]).statistic
            rows += [Metric(m, r, "test", f"ks_{check}", ks + 0.1 * worse) for r, worse in enumerate(others)]
    rows += [Metric("zinb", r, "all", "mean_dropout", mean_dropout + 0.1 * r) for r in range(2)]
    return table(parts.METRICS, rows)
