"""Read parameters of ZISynth: two cell types, each a Poisson-lognormal distribution of the same genes.

They go by the array names of the 2019 study: ``mu_0``, ``sigma_0`` for the rarer type and ``mu_2``,
``sigma_2`` for the other one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from os import PathLike, fspath
from zipfile import is_zipfile

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
TYPES = ("0", "2")
NAMES = tuple(f"{array}_{cell_type}" for cell_type in TYPES for array in ("mu", "sigma"))

# Of what numbers in single precision, as files may hold them, can be off.
_TOLERANCE = 1e-6


def builtin_parameters() -> dict[str, Floats]:
    """Load the shipped parameters, which ``tests/zisynth_fit.py`` fitted to Zeisel et al. 2015.

    Returns
    -------
    Arrays of shape (50,) and (50, 50) by their names; expected counts lie between 2 and 60.

    Examples
    --------
    >>> {name: array.shape for name, array in builtin_parameters().items()}
    {'mu_0': (50,), 'sigma_0': (50, 50), 'mu_2': (50,), 'sigma_2': (50, 50)}
    """
    file = resources.files("zinbtools.simulate").joinpath("zisynth.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return read_parameters(arrays)


def read_parameters(params: Mapping[str, ArrayLike] | str | PathLike[str]) -> dict[str, Floats]:
    """Check the parameters of the two cell types.

    Parameters
    ----------
    params
        Mapping with ``mu_0``, ``sigma_0``, ``mu_2``, ``sigma_2``, or the path of an npz file with these.

    Returns
    -------
    The four arrays as float64, the covariances exactly symmetric.

    Raises
    ------
    KeyError
        If an array is missing.
    ValueError
        If the file is not an npz archive, shapes do not match, values are not finite, or a covariance is
        not symmetric and positive semi-definite to within 1e-6 of its largest entry or eigenvalue.

    Examples
    --------
    >>> read_parameters({"mu_0": [1], "sigma_0": [[1]], "mu_2": [2], "sigma_2": [[0]]})["mu_2"]
    array([2.])
    """
    if isinstance(params, (str, PathLike)):
        if not os.path.isfile(params):
            raise FileNotFoundError(f"params must name an npz archive, found no file at {fspath(params)!r}.")
        with open(params, "rb") as stream:
            if not is_zipfile(stream):
                raise ValueError(
                    f"params must name an npz archive, found another file at {fspath(params)!r}."
                )
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as arrays:
                return read_parameters(arrays)
    if missing := [name for name in NAMES if name not in params]:
        raise KeyError(f"params lacks {', '.join(missing)}; it needs {', '.join(NAMES)}.")
    arrays = {name: np.asarray(params[name], dtype=np.float64) for name in NAMES}
    n_genes = arrays["mu_0"].size
    for name, array in arrays.items():
        _check_array(name, array, (n_genes,) if name.startswith("mu") else (n_genes, n_genes))
    return {name: array if array.ndim == 1 else (array + array.T) / 2 for name, array in arrays.items()}


def _check_array(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.size == 0:
        raise ValueError(
            f"params[{name!r}] must have shape {shape} to go with mu_0, and at least one gene, "
            f"found {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"params[{name!r}] must be finite, found {np.count_nonzero(~np.isfinite(array))} "
            f"of {array.size} values that are not; replace them."
        )
    if array.ndim == 1:
        return
    asymmetry = np.abs(array - array.T).max()
    if asymmetry > _TOLERANCE * np.abs(array).max():
        raise ValueError(
            f"params[{name!r}] must be symmetric, found entries {asymmetry:.3g} apart from their mirror."
        )
    eigenvalues = np.linalg.eigvalsh((array + array.T) / 2)
    if eigenvalues[0] < -_TOLERANCE * max(eigenvalues[-1], 0):
        raise ValueError(
            f"params[{name!r}] must be positive semi-definite, found the eigenvalue {eigenvalues[0]:.3g}; "
            "project it onto such matrices first."
        )
