from ._calibration import calibration
from ._consequences import consequences
from ._dropout import dropout
from ._gene import gene
from ._history import history
from ._meta import meta
from ._model_selection import model_selection
from ._power import power
from ._ppc import ppc
from ._tuning import tuning
from ._verdict import verdict
from ._zero_causes import zero_causes
from ._zero_study import zero_study
from ._zero_test import zero_test
from ._zi_scores import zi_scores

__all__ = [
    "calibration",
    "consequences",
    "dropout",
    "gene",
    "history",
    "meta",
    "model_selection",
    "power",
    "ppc",
    "tuning",
    "zero_causes",
    "verdict",
    "zero_study",
    "zero_test",
    "zi_scores",
]
