"""Image: the pinned environment that scripts run in, as its label tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LABEL_PACKAGES = "fumehood.packages"
"""Label of the container image: `{"python": "3.13.1", "packages": {"numpy": "2.4.6", …}}`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """`python` and `packages` (name → version) are None where the image does not say what is in it."""

    digest: str
    python: str | None = None
    packages: dict[str, str] | None = None
    seen_at: float = 0.0
    """When a worker last started with it; seconds since the epoch."""


def labelled(digest: str, label: str | None) -> Image:
    """The image with the value of its label LABEL_PACKAGES. A label of another shape says nothing: images can be anybody's."""
    try:
        told: Any = json.loads(label or "null")
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {}
    python, packages = told.get("python"), told.get("packages")
    known = isinstance(packages, dict) and all(isinstance(version, str) for version in packages.values())
    return Image(digest=digest, python=python if isinstance(python, str) else None, packages=dict(packages) if known else None)
