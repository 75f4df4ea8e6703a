"""Generators of counts with known truth."""

from __future__ import annotations

from ._zisynth import zisynth

__all__ = ["zisynth"]
