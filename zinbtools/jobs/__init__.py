"""Independent jobs: in threads, in processes, on a cluster; kept as they finish and picked up again."""

from .checkpoints import Checkpoints, Died, fingerprint
from .cluster import DaskClient
from .pool import Where, Workers, check_workers, run, workers

__all__ = [
    "Checkpoints",
    "DaskClient",
    "Died",
    "Where",
    "Workers",
    "check_workers",
    "fingerprint",
    "run",
    "workers",
]
