"""Name the parts of ``uns[key]``: which verb writes each, and what it always holds."""

from __future__ import annotations

from typing import Literal, NamedTuple

Verb = Literal[
    "fit_nb_zinb", "marginal_ll", "model_selection", "ppc", "tune", "zero_test", "zi_replication", "zi_scores"
]


class Part(NamedTuple):
    """A table or a dictionary that a verb leaves in ``uns[key]``.

    Attributes
    ----------
    within
        The part that it lies in; itself in ``uns[key]`` where empty.
    name
        Its key.
    verb
        The function of `zinbtools.tl` that writes it.
    holds
        Columns of the table in their order, or keys of the dictionary; there may be more.
    asked
        The argument of the verb without which it is not written.
    """

    within: str
    name: str
    verb: Verb
    holds: tuple[str, ...]
    asked: str


class Metric(NamedTuple):
    """One row of the table of metrics."""

    model: str
    restart: int
    split: str
    metric: str
    value: float
    se: float = float("nan")


def _part(path: str, verb: Verb, holds: str = "", asked: str = "") -> Part:
    within, _, name = path.rpartition("/")
    return Part(within, name, verb, tuple(holds.split()), asked)


PARAMS = _part("params", "fit_nb_zinb", "models best_restart")
WEIGHTS = _part("weights", "fit_nb_zinb")
HISTORY = _part("history", "fit_nb_zinb", "model restart epoch train_elbo validation_elbo learning_rate")
METRICS = _part("metrics", "fit_nb_zinb", " ".join(Metric._fields))
FAILURES = _part("failures", "fit_nb_zinb", "model restart epoch step gene message")
NLL_BY_DRAWS = _part("nll_by_draws", "marginal_ll", "model restart split n_draws nll")

PPC = _part("ppc", "ppc", "n_samples n_null split latent")
PPC_GENES = _part("ppc/genes", "ppc", "gene check observed")
PREDICTED = ("", "_expected", "_sd", "_tail")  # ends of the columns that it has of each model
PPC_KS = _part(
    "ppc/ks",
    "ppc",
    "check model ks position null_mean null_low null_high ks_draw ks_draw_sd ks_draw_null",
)
PPC_CHECKS = _part("ppc/checks", "ppc", "check label short reading direction reference")
PPC_RESIDUALS = _part("ppc/residuals", "ppc", "gene", asked="checks='pit'")
PPC_HISTOGRAMS = _part("ppc/residual_histograms", "ppc", asked="checks='pit'")

SELECTION = _part(
    "model_selection",
    "model_selection",
    "differences by_restart tests zeros pooled_zeros params excess_zeros verdict sentence",
)
DIFFERENCES = _part(
    "model_selection/differences",
    "model_selection",
    "model difference se low high df sd_cells sd_restarts n_cells n_restarts nll rope position",
)
BY_RESTART = _part("model_selection/by_restart", "model_selection", "model restart difference")
TESTS = _part(
    "model_selection/tests",
    "model_selection",
    "metric nb_median zinb_median nb_runs zinb_runs "
    "pval_nb_better pval_zinb_better pval_adj_nb_better pval_adj_zinb_better better",
)
ZEROS = _part(
    "model_selection/zeros", "model_selection", "gene observed expected null_mean null_sd pval pval_adj"
)
POOLED_ZEROS = _part(
    "model_selection/pooled_zeros",
    "model_selection",
    "share null_share null_share_sd pval n_genes n_tested found",
)
GROUPS = _part(
    "model_selection/groups",
    "model_selection",
    "group n_cells difference se low high rope nll zero_share verdict message",
    asked="groupby=...",
)
BOOTSTRAP = _part(
    "model_selection/bootstrap",
    "model_selection",
    "difference se excess_zeros zero_share n_genes_with_excess verdict",
    asked="n_bootstrap=...",
)

TUNING = _part("tuning", "tune", "trials summary best params")
TRIALS = _part("tuning/trials", "tune", "trial model status trial_status loss nll se elbo n_epochs message")
SUMMARY = _part("tuning/summary", "tune", "model trial default_nll best_nll gain gain_se")
BEST = _part("tuning/best", "tune")

ZI_BOOTSTRAP = _part(
    "zi_bootstrap", "zi_scores", "twin n_genes n_called share_pval_05 largest_ratio", asked="n_bootstrap=..."
)
ZI_REPLICATION = _part("zi_replication", "zi_replication", "parts genes params")
ZI_PARTS = _part("zi_replication/parts", "zi_replication", "split part n_cells message")
ZI_GENES = _part(
    "zi_replication/genes", "zi_replication", "gene mean_count score pval pval_adj dropout call part"
)

# In a place of its own, `Keys.zero_test`.
ZERO_TEST = _part("genes", "zero_test", "gene mean_count observed_zero_fraction family")
