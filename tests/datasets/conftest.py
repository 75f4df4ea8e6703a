"""Tests that fetch are left out unless they are asked for."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "network" in config.option.markexpr:
        return
    fetching = [item for item in items if item.get_closest_marker("network")]
    config.hook.pytest_deselected(items=fetching)
    items[:] = [item for item in items if item not in fetching]
