"""Independent jobs: in this process, in others, on a cluster; kept as they finish and picked up again."""

from .checkpoints import Checkpoints, Died, fingerprint
from .cluster import DaskClient
from .pool import Workers, check_workers, run, workers

__all__ = ["Checkpoints", "DaskClient", "Died", "Workers", "check_workers", "fingerprint", "run", "workers"]
