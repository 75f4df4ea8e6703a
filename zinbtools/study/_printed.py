"""What the 2019 study printed in its Tables 1 to 3: medians over its runs, and which model is in bold.

Read from the post "Should we zero-inflate scVI?" (Clivio, Boyeau, Lopez, Regier, Yosef 2019).
"""

from __future__ import annotations

from typing import NamedTuple

SPLIT = (0.8, 0.0, 0.2)  # shares of training and test cells, which early stopping looks at too
METRICS = ("nll", "ks_dropout_ratio", "ks_zeros_to_expression", "ks_cv")


class Printed(NamedTuple):
    """Medians of one metric, and the model that was significantly better, if any."""

    nb: float
    zinb: float
    better: str


class Row(NamedTuple):
    """One data set of a table.

    Attributes
    ----------
    table, name
        Number of the table, and what the study calls the data set.
    dataset
        What `zinbtools.datasets` calls it; None for the simulated ones.
    lam
        Decay of the simulated dropout.
    mean_dropout
        "Average zero inflation" as printed.
    metrics
        By the names in `METRICS`.
    """

    table: int
    name: str
    dataset: str | None
    lam: float | None
    mean_dropout: float
    metrics: dict[str, Printed]


def _row(table: int, name: str, of: str | float, mean_dropout: float, *printed: Printed) -> Row:
    dataset, lam = (of, None) if isinstance(of, str) else (None, of)
    return Row(table, name, dataset, lam, mean_dropout, dict(zip(METRICS, printed, strict=True)))


def _p(nb: float, zinb: float, better: str = "") -> Printed:
    return Printed(nb, zinb, better)


# In each row: negative log likelihood, then KS of dropout ratio, zeros to expression, variation.
# fmt: off
ROWS = (
    _row(1, "ZISynth lambda=0", 0.0, 0.079,
         _p(185.108, 166.256, "zinb"), _p(0.80, 0.16, "zinb"), _p(0.66, 0.26, "zinb"),
         _p(0.82, 0.79, "zinb")),
    _row(1, "ZISynth lambda=0.001", 0.001, 0.047,
         _p(175.239, 167.273, "zinb"), _p(0.72, 0.12, "zinb"), _p(0.60, 0.20, "zinb"), _p(0.69, 0.60)),
    _row(1, "ZISynth lambda=0.01", 0.01, 0.021,
         _p(172.486, 169.990, "zinb"), _p(0.54, 0.18, "zinb"), _p(0.48, 0.22, "zinb"), _p(0.77, 0.72)),
    _row(1, "ZISynth lambda=0.1", 0.1, 0.011,
         _p(169.079, 168.900), _p(0.26, 0.24), _p(0.26, 0.26), _p(0.76, 0.74)),
    _row(1, "ZISynth lambda=1", 1.0, 0.011,
         _p(169.529, 169.720, "nb"), _p(0.26, 0.30, "nb"), _p(0.24, 0.26), _p(0.74, 0.73)),
    _row(1, "ZISynth lambda=10", 10.0, 0.010,
         _p(168.646, 169.485, "nb"), _p(0.26, 0.36, "nb"), _p(0.26, 0.28, "nb"), _p(0.73, 0.68)),
    _row(2, "Klein 2015 ERCC", "klein_ercc", 0.080,
         _p(125.751, 129.225, "nb"), _p(0.269, 0.308, "nb"), _p(0.385, 0.423), _p(0.558, 0.615, "nb")),
    _row(2, "Zheng 2017 ERCC", "zheng_ercc", 0.151,
         _p(230.762, 236.369, "nb"), _p(0.386, 0.474, "nb"), _p(0.368, 0.386, "nb"), _p(0.684, 0.702, "nb")),
    _row(2, "Svensson 2017 (1) ERCC", "svensson_ercc_1", 0.096,
         _p(106.181, 106.864, "nb"), _p(0.316, 0.395, "nb"), _p(0.316, 0.316, "nb"), _p(0.579, 0.579)),
    _row(2, "Svensson 2017 (2) ERCC", "svensson_ercc_2", 0.026,
         _p(96.993, 96.330), _p(0.306, 0.333, "nb"), _p(0.250, 0.278, "nb"), _p(0.625, 0.583, "zinb")),
    _row(3, "Cortex", "cortex", 0.205,
         _p(1272.117, 1250.321, "zinb"), _p(0.072, 0.043, "zinb"), _p(0.085, 0.090),
         _p(0.219, 0.180, "zinb")),
    _row(3, "Hemato", "hemato", 0.336,
         _p(909.313, 904.834, "zinb"), _p(0.136, 0.156), _p(0.222, 0.255), _p(0.180, 0.138, "zinb")),
    _row(3, "Brain Small", "brain_small", 0.090,
         _p(1978.251, 1976.497), _p(0.065, 0.044, "zinb"), _p(0.085, 0.058, "zinb"),
         _p(0.086, 0.060, "zinb")),
    _row(3, "PBMC", "pbmc", 0.120,
         _p(918.969, 916.832, "zinb"), _p(0.058, 0.066), _p(0.090, 0.100), _p(0.048, 0.060, "nb")),
    _row(3, "Retina", "retina", 0.209,
         _p(1016.717, 1015.011, "zinb"), _p(0.060, 0.058), _p(0.091, 0.094), _p(0.045, 0.046)),
)
# fmt: on
