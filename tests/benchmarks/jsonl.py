"""Records, a line each, so that a benchmark that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, Any]]:
    """Those of a file; none where there is no file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def add(path: Path, record: Mapping[str, Any]) -> None:
    """Append one."""
    with path.open("a", encoding="utf-8") as file:
        print(json.dumps(record), file=file)
