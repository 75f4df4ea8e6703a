"""Verbs on an AnnData: fit both models, evaluate them, score genes."""

from ._fit import fit_nb_zinb
from ._marginal import marginal_ll
from ._ppc import ppc
from ._zero_test import zero_test
from ._zi_scores import zi_scores

__all__ = ["fit_nb_zinb", "marginal_ll", "ppc", "zero_test", "zi_scores"]
