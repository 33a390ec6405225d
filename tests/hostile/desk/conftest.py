"""Fixtures of the made-up desk; nothing here needs a container."""

from __future__ import annotations

from tests.unit.front_desk import template

__all__ = ["template"]
