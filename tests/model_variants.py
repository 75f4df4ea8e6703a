"""Settings that tests of models go through."""

VARIANTS = [
    {},
    {"n_layers": 2},
    {"dispersion": "gene-batch"},
    {"dispersion": "gene-cell"},
    {"dispersion": "none"},
    {"library": "observed"},
    {"library": "size_factor"},
]
