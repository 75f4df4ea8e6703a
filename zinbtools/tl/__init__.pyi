from ._consequences import consequences
from ._embed import embed
from ._explain_zeros import explain_zeros
from ._fit import fit_nb_zinb
from ._import_scvi import import_scvi
from ._marginal import marginal_ll
from ._meta import meta, replicated
from ._model_selection import model_selection
from ._power import power
from ._ppc import ppc
from ._reads_per_molecule import reads_per_molecule
from ._tune import tune
from ._zero_test import zero_test
from ._zi_replication import zi_replication
from ._zi_scores import zi_scores

__all__ = [
    "consequences",
    "embed",
    "explain_zeros",
    "fit_nb_zinb",
    "import_scvi",
    "marginal_ll",
    "meta",
    "model_selection",
    "power",
    "ppc",
    "reads_per_molecule",
    "replicated",
    "tune",
    "zero_test",
    "zi_replication",
    "zi_scores",
]
