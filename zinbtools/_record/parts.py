"""Name the parts of ``uns[key]``: which verb writes each, and what it always holds."""

from __future__ import annotations

from typing import NamedTuple

FIT = "fit_nb_zinb"
# Verbs that leave one part of ``uns[key]``; what no other leaves is the fit's.
_VERBS = {
    "nll_by_draws": "marginal_ll",
    "tuning": "tune",
    "zero_causes": "explain_zeros",
    "zi_bootstrap": "zi_scores",
} | {
    verb: verb
    for verb in (
        "consequences",
        "model_selection",
        "power",
        "ppc",
        "reads_per_molecule",
        "zero_test",
        "zi_replication",
    )
}


class Part(NamedTuple):
    """A table or a dictionary that a verb leaves in ``uns[key]``.

    Attributes
    ----------
    within
        The part that it lies in; itself in ``uns[key]`` where empty.
    name
        Its key.
    holds
        Columns of the table in their order, or keys of the dictionary; there may be more.
    asked
        The argument of the verb without which it is not written.
    """

    within: str
    name: str
    holds: tuple[str, ...]
    asked: str

    @property
    def verb(self) -> str:
        """The function of `zinbtools.tl` that writes it."""
        return _VERBS.get(self.within or self.name, FIT)


class Metric(NamedTuple):
    """One row of the table of metrics."""

    model: str
    restart: int
    split: str
    metric: str
    value: float
    se: float = float("nan")


def _part(path: str, holds: str = "", asked: str = "") -> Part:
    within, _, name = path.rpartition("/")
    return Part(within, name, tuple(holds.split()), asked)


PARAMS = _part("params", "models best_restart")
WEIGHTS = _part("weights")
HISTORY = _part("history", "model restart epoch train_elbo validation_elbo learning_rate")
METRICS = _part("metrics", " ".join(Metric._fields))
FAILURES = _part("failures", "model restart epoch step gene message")
NLL_BY_DRAWS = _part("nll_by_draws", "model restart split n_draws nll")

PPC = _part("ppc", "n_samples n_null split latent")
PPC_GENES = _part("ppc/genes", "gene check observed")
PREDICTED = ("", "_expected", "_sd", "_tail")  # ends of the columns that it has of each model
_OF_NULL = "null_mean null_low null_high ks_draw ks_draw_sd ks_draw_null"
PPC_KS = _part("ppc/ks", f"check model ks position {_OF_NULL}")
PPC_CHECKS = _part("ppc/checks", "check label short reading direction reference")
PPC_RESIDUALS = _part("ppc/residuals", "gene", "checks='pit'")
PPC_HISTOGRAMS = _part("ppc/residual_histograms", "", "checks='pit'")

_TABLES = "differences by_restart tests zeros pooled_zeros rivals calls"
SELECTION = _part("model_selection", f"{_TABLES} params excess_zeros verdict explained_by sentence")
_OF_GAIN = "df sd_cells sd_restarts n_cells n_restarts n_folds nll rope position"
DIFFERENCES = _part("model_selection/differences", f"model difference se low high {_OF_GAIN}")
BY_RESTART = _part("model_selection/by_restart", "model fold restart difference")
_PVALS = "pval_nb_better pval_zinb_better pval_adj_nb_better pval_adj_zinb_better"
TESTS = _part("model_selection/tests", f"metric nb_median zinb_median nb_runs zinb_runs {_PVALS} better")
ZEROS = _part("model_selection/zeros", "gene observed expected null_mean null_sd pval pval_adj")
_OF_RIVAL = "gain gain_low gain_high over_zinb over_zinb_low over_zinb_high"
_OF_ITS_ZINB = "zinb_gain zinb_low zinb_high zinb_position excess_zeros n_restarts"
RIVALS = _part("model_selection/rivals", f"model {_OF_RIVAL} {_OF_ITS_ZINB}")
CALLS = _part("model_selection/calls", "gene dropout dropout_low dropout_high call explained_by on_in")
_POOLED = "n_cells n_expected share null_share null_share_sd pval n_genes n_tested found"
POOLED_ZEROS = _part("model_selection/pooled_zeros", _POOLED)
_OF_GROUP = "group n_cells difference se low high rope nll position zero_share verdict explained_by message"
GROUPS = _part("model_selection/groups", _OF_GROUP, "groupby=...")
_OF_TWIN = "difference se excess_zeros zero_share n_genes_with_excess verdict"
BOOTSTRAP = _part("model_selection/bootstrap", _OF_TWIN, "n_bootstrap=...")

TUNING = _part("tuning", "trials summary best params")
TRIALS = _part("tuning/trials", "trial model status trial_status loss nll se elbo n_epochs message")
SUMMARY = _part("tuning/summary", "model trial default_nll best_nll gain gain_se")
BEST = _part("tuning/best")

ZI_BOOTSTRAP = _part("zi_bootstrap", "twin n_genes n_called share_pval_05 largest_ratio", "n_bootstrap=...")
ZI_REPLICATION = _part("zi_replication", "parts genes params")
ZI_PARTS = _part("zi_replication/parts", "split part n_cells message")
ZI_GENES = _part("zi_replication/genes", "gene mean_count score pval pval_adj dropout call part")

POWER = _part("power", "needed genes params")
POWER_NEEDED = _part("power/needed", "gene mean inverse_dispersion call dropout depth n_cells")
POWER_GENES = _part("power/genes", "gene dropout depth n_cells power")
_WHERE = "above inside below expected_above expected_inside expected_below"
POWER_VERDICT = _part("power/verdict", f"n_cells n_test_cells n_restarts difference {_WHERE}")

_OF_BURSTS = "burst_frequency burst_frequency_se burst_size burst_size_se"
_OF_CAUSE = f"margin margin_se pval pval_adj cells_needed dropout {_OF_BURSTS}"
ZERO_CAUSES = _part("zero_causes", "genes params")
CAUSES_GENES = _part("zero_causes/genes", f"gene mean excess_zeros cause {_OF_CAUSE}")
_OF_FAMILY = "family n_parameters log_likelihood difference se low high df n_genes n_cells"
CAUSES_FAMILIES = _part("zero_causes/families", _OF_FAMILY, "held_out=True")

CONSEQUENCES = _part("consequences", "measures pairs position sentence params")
CONSEQUENCES_MEASURES = _part("consequences/measures", "measure nb zinb between pval position")
_OF_PAIR = "first first_restart second second_restart agreement"
CONSEQUENCES_PAIRS = _part("consequences/pairs", f"measure {_OF_PAIR}")

# Not in ``uns[key]``, but in a place of its own.
ZERO_TEST = _part("zero_test/genes", "gene mean_count observed_zero_fraction family")
_OF_READS = "reads_per_molecule low high molecules_per_cell shape gene_sd shape_sd"
READS = _part("reads_per_molecule/batches", f"batch n_cells {_OF_READS}")
