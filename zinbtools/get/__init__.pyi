from ._checks import calibration_df, ppc_df, ppc_ks_df
from ._consequences import consequences_df
from ._difference import NLLDifference, nll_difference
from ._frames import dropout_df, history_df, metrics_df, zero_study_df, zero_test_df, zi_genes_df
from ._gene import gene_df
from ._inference_data import inference_data
from ._meta import MetaAnalysis
from ._model import expected_counts, model, posterior_dropout
from ._power import power_df
from ._reads import reads_per_molecule_df
from ._replication import zi_replication_df
from ._selection import Verdict, model_selection_df, rivals_df, verdict
from ._tuning import tuning_df, tuning_summary_df
from ._zero_causes import zero_causes_df

__all__ = [
    "MetaAnalysis",
    "NLLDifference",
    "Verdict",
    "calibration_df",
    "consequences_df",
    "dropout_df",
    "expected_counts",
    "gene_df",
    "history_df",
    "inference_data",
    "metrics_df",
    "model",
    "model_selection_df",
    "nll_difference",
    "posterior_dropout",
    "power_df",
    "ppc_df",
    "ppc_ks_df",
    "reads_per_molecule_df",
    "rivals_df",
    "tuning_df",
    "tuning_summary_df",
    "verdict",
    "zero_causes_df",
    "zero_study_df",
    "zero_test_df",
    "zi_genes_df",
    "zi_replication_df",
]
