"""Fixtures of the unit rung: no server, no container, seconds. Each group stands in a module of its own."""

from __future__ import annotations

from tests.unit.front_desk import narrow, open_stand, stand, template, us
from tests.unit.stores import clock, store, store_url
from tests.unit.workbench import bench

__all__ = ["bench", "clock", "narrow", "open_stand", "stand", "store", "store_url", "template", "us"]
