"""Schemas of what the service says of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    status: Literal["ok"]
    version: str


class ReadyPart(BaseModel):
    ok: bool
    detail: str


class Readiness(BaseModel):
    ready: bool
    parts: dict[str, ReadyPart]
