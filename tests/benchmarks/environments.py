"""The environments of the packages that the benchmarks compare with, their versions pinned here.

    python tests/benchmarks/environments.py FOLDER --python python3.12

makes FOLDER/scvi (for `against_scvi.py`, and `genes.py` with AUTOZI) and FOLDER/genes (for `gene_peers.py`),
or one of them with ``--only``. An environment that is there is brought to these versions. Python 3.12:
scvi-tools 1.5 asks for it at least, and tensorzinb-plusplus at most.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

TORCH = "torch==2.13.0"
PINS = {
    "scvi": [
        *("scvi-tools==1.5.1", "lightning==2.6.6", "anndata==0.13.4", "scanpy==1.12.4"),
        *("numpy==2.5.5", "scipy==1.18.1", "numba==0.68.1"),
    ],
    "genes": [
        *("statsmodels==0.15.0", "pydeseq2==0.5.4", "delnx==0.3.0", "m3drop==0.5.3"),
        *("tensorzinb-plusplus==0.0.7", "tensorflow==2.21.0", "jax==0.12.0.1"),
        *("anndata==0.13.4", "numpy==2.4.6", "scipy==1.15.3", "numba==0.68.1"),
    ],
}


def make(folder: Path, python: str, pins: list[str], torch_index: str | None) -> Path:
    """Make one environment, or bring it to these versions; its interpreter."""
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        _run(python, "-m", "venv", str(folder))
    install = (str(interpreter), "-m", "pip", "install", "--quiet")
    if "scvi-tools" in pins[0]:
        # first, and on its own, so that nothing pulls another wheel in
        _run(*install, TORCH, *(("--index-url", torch_index) if torch_index else ()))
        pins = [TORCH, *pins]
    _run(*install, *pins)
    return interpreter


def _run(*command: str) -> None:
    print(*command, flush=True)
    subprocess.run(command, check=True)


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="python3.12", help="the interpreter that they are made with")
    parser.add_argument("--only", nargs="+", choices=PINS, default=list(PINS))
    parser.add_argument(
        "--torch-index",
        help="where torch for the CPU is, where pip finds it with CUDA: https://download.pytorch.org/whl/cpu",
    )
    arguments = parser.parse_args()
    for name in arguments.only:
        made = make(arguments.folder.resolve() / name, arguments.python, PINS[name], arguments.torch_index)
        print(f"{name}: {made}")


if __name__ == "__main__":
    main()
