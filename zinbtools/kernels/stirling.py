"""What Stirling's formula leaves out of log Gamma: small, smooth, and far cheaper than log Gamma itself.

``S(t) = log Gamma(t) - (t - 1/2) log t + t - log(2 pi) / 2`` decays as ``1 / (12 t)``. With it, log
probabilities of counts need neither lgamma nor digamma, and no large terms that cancel.
"""

from __future__ import annotations

# Chebyshev interpolants of t S(t) in 1/t on (0, 1], as powers of 1/t: degree 8 errs by 7e-10, degree 18 by
# 3e-16 (tests/kernels/test_stirling.py checks both against 50-digit arithmetic).
SINGLE = (
    0.08333333401983993,
    -1.1110268575629521e-07,
    -0.0027748313407582885,
    -2.976716941912128e-05,
    0.0009398784170899136,
    -0.00036966296015888435,
    -0.00020358492386754302,
    0.00022617372273082119,
    -5.9962277903282234e-05,
)
DOUBLE = (
    0.08333333333333307,
    1.9189337917422838e-13,
    -0.002777777802426095,
    1.3157708759334294e-09,
    0.0007936122829767341,
    7.069192504311606e-07,
    -0.0006040257622592849,
    7.755263056094675e-05,
    0.0003417087274854838,
    0.00238840020752955,
    -0.010345851433317422,
    0.021354617718376344,
    -0.02919533059558957,
    0.02865792035221193,
    -0.020533611373114033,
    0.010558614925748338,
    -0.0037059847290015608,
    0.0007968478888791515,
    -7.926781127982876e-05,
)
