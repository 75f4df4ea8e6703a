"""An AnnData as a fit and what follows it leave it, with the truth in place of estimates."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse, stats

from zinbtools import tl
from zinbtools._record.keys import Keys
from zinbtools.stats.calibration import ResidualSums
from zinbtools.stats.crossed import crossed_mean
from zinbtools.stats.discrepancies import CHECKS as KNOWN
from zinbtools.stats.equivalence import conclude, default_rope, position
from zinbtools.stats.zero_excess import zero_excess

MODELS = ("nb", "zinb")
CHECKS = ("dropout_ratio", "zeros_to_expression", "cv")
WORDS = ("label", "short", "reading")


def fake_fit(
    n_obs: int = 400, n_vars: int = 60, *, key: str | None = None, dropout: float = 0.15, seed: int = 0
) -> AnnData:
    """Counts of a ZINB with dropout in every second gene, and every result that the verbs would write.

    The "NB" has the ZINB's mean lowered to what is seen; ``layers["true_counts"]`` is the truth.
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
    adata.obs[keys.split] = pd.Categorical(split, categories=["train", "validation", "test"])
    test = split == "test"

    log_p = {m: stats.nbinom.logpmf(counts, theta, theta / (theta + means[m])) for m in MODELS}
    log_p["zinb"] = np.where(counts == 0, np.log(zero["zinb"]), np.log1p(-pi) + log_p["zinb"])
    gain = (log_p["zinb"] - log_p["nb"])[test]
    for m in MODELS:
        adata.layers[keys.mean(m)] = means[m].astype(np.float32)
        adata.obsm[keys.latent(m)] = np.log(depth).astype(np.float32)
        adata.obs[keys.marginal_ll(m)] = np.where(test, log_p[m].sum(axis=1), np.nan)
        adata.var[keys.inverse_dispersion(m)] = theta
        adata.var[keys.zero_fraction(m)] = zero[m].mean(axis=0)
    adata.layers[keys.dropout()] = pi.astype(np.float32)
    adata.var[keys.mean_dropout()] = pi.mean(axis=0)
    adata.var[keys.score] = gain.mean(axis=0)
    adata.var[keys.score_se] = gain.std(axis=0, ddof=1) / np.sqrt(test.sum())
    checks, distances = _checks(
        adata, counts[test], {m: means[m][test] for m in MODELS}, theta, pi[test], rng
    )
    residuals = {
        m: _residuals(counts[test], means[m][test], theta, pi[test] * (m == "zinb"), rng) for m in MODELS
    }
    adata.uns[keys.uns] = {
        "params": {
            "models": list(MODELS),
            "var_names": list(adata.var_names),
            "protocol": "default",
            "n_latent": 1,
            "n_restarts": 2,
            "seed": seed,
            "best_restart": {"nb": 1, "zinb": 0},
        },
        "history": _history(rng),
        "metrics": _metrics(adata, keys, checks, float(pi.mean())),
        "ppc": {
            "genes": checks,
            "ks": distances,
            "checks": pd.DataFrame(
                {
                    "check": CHECKS,
                    **{words: [getattr(KNOWN[check], words) for check in CHECKS] for words in WORDS},
                    "direction": "both",
                    "reference": "",
                }
            ),
            "residuals": pd.DataFrame({"gene": adata.var_names.to_numpy()}).assign(
                **{f"{m}_{k}": v for m in MODELS for k, v in residuals[m].test()._asdict().items()}
            ),
            "residual_histograms": {m: residuals[m].histogram for m in MODELS},
            "n_samples": 20,
            "n_null": 19,
            "split": "test",
            "latent": "posterior",
        },
        "tuning": _tuning(rng),
    }
    adata.uns[keys.uns]["model_selection"] = _selection(adata, keys, gain.sum(axis=1))
    tl.zero_test(adata, key_added=key)
    return adata


def _selection(adata: AnnData, keys: Keys, gain: np.ndarray) -> dict[str, Any]:
    """The comparison as if both restarts had the gains of the truth."""
    found, nll = crossed_mean(gain[None]), -float(adata.obs[keys.marginal_ll("nb")].mean())
    low, high = found.interval()
    row = {
        **{
            "model": "zinb",
            "difference": found.mean,
            "se": found.se,
            "df": found.df,
            "low": low,
            "high": high,
        },
        **{"sd_cells": found.sd_columns, "sd_restarts": 0.0, "n_cells": found.n_columns, "n_restarts": 2},
        **{"nll": nll - found.mean, "rope": default_rope(nll)},
    }
    row["position"] = position(low, high, row["rope"])
    test = (adata.obs[keys.split] == "test").to_numpy()
    observed = (adata.X[test].toarray() == 0).sum(0).astype(float)
    expected = observed * np.where(np.arange(adata.n_vars) % 2, 1.0, 0.8)
    null = np.random.default_rng(0).normal(scale=np.sqrt(observed / 2 + 1), size=(50, adata.n_vars))
    excess = zero_excess(observed, expected, null, np.zeros_like(null))
    tests = [
        (
            check,
            0.3,
            0.2,
            2,
            2,
            0.9,
            0.04 if check == "nll" else 0.12,
            0.9,
            0.16,
            "zinb" if check == "nll" else "",
        )
        for check in ("nll", *(f"ks_{name}" for name in CHECKS))
    ]
    columns = ["metric", "nb_median", "zinb_median", "nb_runs", "zinb_runs", "pval_nb_better"]
    columns += ["pval_zinb_better", "pval_adj_nb_better", "pval_adj_zinb_better", "better"]
    return {
        "differences": pd.DataFrame([row]),
        "by_restart": pd.DataFrame(
            {"model": "zinb", "restart": [0, 1], "difference": [0.98 * found.mean, 1.02 * found.mean]}
        ),
        "tests": pd.DataFrame(tests, columns=columns),
        "zeros": pd.DataFrame(
            {
                "gene": adata.var_names.to_numpy(),
                "observed": observed,
                "expected": expected,
                "null_mean": excess.null_mean,
                "null_sd": excess.null_sd,
                "pval": excess.pval,
                "pval_adj": excess.pval_adj,
            }
        ),
        "pooled_zeros": {
            "share": excess.share,
            "null_share": excess.null_share,
            "null_share_sd": excess.null_share_sd,
            "pval": excess.pval_pooled,
            "n_genes": excess.n_genes(0.025),
            "n_tested": adata.n_vars,
            "found": excess.found(0.05),
        },
        "params": {"alpha": 0.05, "n_restarts": 2},
        "excess_zeros": excess.found(0.05),
        "verdict": conclude(row["position"], excess.found(0.05)),
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
    tables, distances = [], []
    for check in CHECKS:
        drawn = {m: np.array([d[check] for d in draws[m]]) for m in MODELS}
        first = {m: drawn[m][:20] for m in MODELS}
        predicted = {m: first[m].mean(axis=0) for m in MODELS}
        columns = {"gene": adata.var_names, "check": check, "observed": observed[check], **predicted}
        columns |= {f"{m}_expected": np.full(adata.n_vars, np.nan) for m in MODELS}
        columns |= {f"{m}_sd": first[m].std(axis=0, ddof=1) for m in MODELS}
        columns |= {f"{m}_tail": ((first[m] > observed[check]).sum(axis=0) + 0.5) / 21 for m in MODELS}
        tables.append(pd.DataFrame(columns))
        for m in MODELS:
            null = [_ks(draw, predicted[m]) for draw in drawn[m][20:]]
            ks, each = _ks(observed[check], predicted[m]), [_ks(observed[check], d) for d in first[m]]
            row = {"check": check, "model": m, "ks": ks, "position": (np.sum(null < ks) + 0.5) / 20}
            row |= {"null_mean": np.mean(null), "null_low": min(null), "null_high": max(null)}
            between = np.mean([_ks(a, b) for a, b in pairwise(drawn[m])])
            distances.append(
                row | {"ks_draw": np.mean(each), "ks_draw_sd": np.std(each), "ks_draw_null": between}
            )
    return pd.concat(tables, ignore_index=True), pd.DataFrame(distances)


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
            rows.append(
                pd.DataFrame(
                    {
                        "model": m,
                        "restart": restart,
                        "epoch": epochs,
                        "train_elbo": train,
                        "validation_elbo": validation,
                        "learning_rate": 4e-3,
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def _tuning(rng: np.random.Generator) -> dict[str, object]:
    n_trials, best = 8, {"nb": 171.0, "zinb": 168.0}
    table = pd.DataFrame(
        [(trial, m, "ok", "ok", best[m] + trial, 0.03) for trial in range(n_trials) for m in MODELS],
        columns=["trial", "model", "status", "trial_status", "nll", "se"],
    )
    table["loss"] = table.groupby("trial")["nll"].transform("mean")
    table["elbo"] = -table["nll"] - 3
    table["n_hidden"] = np.repeat(rng.choice([64, 128], n_trials), 2)
    summary = pd.DataFrame([(m, 0, best[m] + 2, best[m], 2.0, 0.3) for m in MODELS])
    summary.columns = pd.Index(["model", "trial", "default_nll", "best_nll", "gain", "gain_se"])
    return {"trials": table, "summary": summary, "best": {m: {"n_hidden": 64} for m in MODELS}}


def _metrics(adata: AnnData, keys: Keys, checks: pd.DataFrame, mean_dropout: float) -> pd.DataFrame:
    rows = []
    for m, restart in (("nb", 1), ("zinb", 0)):
        nll = -adata.obs[keys.marginal_ll(m)].mean()
        rows += [(m, r, "validation", "elbo", -nll - 3.0 - (r != restart), np.nan) for r in range(2)]
        rows.append((m, restart, "test", "elbo", -nll - 2.0, np.nan))
        rows.append((m, restart, "test", "nll", nll, 0.02))
        for check, table in checks.groupby("check"):
            pair = table[["observed", m]].dropna()
            ks = stats.ks_2samp(pair["observed"], pair[m]).statistic
            rows.append((m, restart, "test", f"ks_{check}", ks, np.nan))
    rows.append(("zinb", 0, "all", "mean_dropout", mean_dropout, np.nan))
    return pd.DataFrame(rows, columns=["model", "restart", "split", "metric", "value", "se"])
