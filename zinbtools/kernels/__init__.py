"""Compiled loops over counts: numpy and numba only."""
