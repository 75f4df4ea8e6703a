"""Test genes of reads again, with dispersions of their molecules that depend on the state of the cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..stats.count_models import Copies, CountFits
from ..stats.own_shapes import chosen, fit_by_shape, highest, shapes_of
from ..stats.reads_by_state import reads_by_state
from ._columns import Genes, States, joined


class _Shapes(NamedTuple):
    """Fits of one gene with each shape that its copies may have.

    Attributes
    ----------
    fits
        One a shape.
    null, zinb
        Highest log posteriors over shapes, nats.
    of_null, of_zinb
        Which shape each has.
    """

    fits: list[CountFits]
    null: float
    zinb: float
    of_null: int
    of_zinb: int

    @classmethod
    def of(cls, gene: Genes, copies: Copies, factors: np.ndarray, options: dict[str, Any]) -> _Shapes:
        given = options | {"copies": copies, "inverse_dispersions": factors[:, None]}
        fits = fit_by_shape(gene.counts, gene.means, **given)
        null = np.stack([of.null_log_likelihood for of in fits])
        zinb = np.fmax(np.stack([of.log_likelihood[:, of.of("zinb")] for of in fits]), null)
        tops = [float(highest(of, copies.shape_sd)[0]) for of in (null, zinb)]
        which = [int(chosen(of, copies.shape_sd)[0]) for of in (null, zinb)]
        return cls(fits, tops[0], tops[1], which[0], which[1])


def reads_tested_by_state(
    some: Genes, states: States, copies: Copies, options: dict[str, Any]
) -> tuple[np.ndarray, CountFits]:
    """Likelihood ratios of a few genes, (n,), and fits; ``options`` are those of the first test.

    As of molecules, the null has the dispersions of an NB, and the ZINB those of the counts that are no
    dropouts; each is charged what the prior of its coefficients takes. Where genes differ in the shapes of
    their copies, each has one of its own.
    """
    tests = [_tested(some.part(np.array([k])), states, copies, options) for k in range(len(some.which))]
    ratios, fits = zip(*tests, strict=True)
    return np.array(ratios), joined(fits)


def _tested(gene: Genes, states: States, copies: Copies, options: dict[str, Any]) -> tuple[float, CountFits]:
    counts, means = sparse.csc_array(gene.counts), gene.means.astype(np.float64)
    gene, of_gene = gene._replace(counts=counts, means=means), states(int(gene.which[0])).astype(np.float64)
    quick, shapes = options | {"interval_level": 0.0}, shapes_of(copies)
    alike = _Shapes.of(gene, copies, np.ones(len(means)), quick)
    null = reads_by_state(counts, means, of_gene, shapes[alike.of_null], "nb")
    zinb = reads_by_state(counts, means, of_gene, shapes[alike.of_zinb], "zinb", null.precision)
    of_null = _Shapes.of(gene, copies, null.factors, quick)
    of_zinb = _Shapes.of(gene, copies, zinb.factors, options)
    top = max(of_null.zinb - null.penalty, of_zinb.zinb - zinb.penalty)
    return max(2.0 * (top - of_null.null + null.penalty), 0.0), of_zinb.fits[of_zinb.of_zinb]
