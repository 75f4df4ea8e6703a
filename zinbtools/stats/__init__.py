"""Statistics on arrays: numpy and scipy, and numba for what loops over genes."""
