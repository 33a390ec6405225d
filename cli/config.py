"""Where the service is, and with which key, as the Python client reads it; and the engine, for local runs.

The only module of the command that reads the environment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fumehood.client.configuration import DEFAULT_URL, Config, config_path, read, shown_key, write

if TYPE_CHECKING:
    from fumehood.client.surface import Surface

__all__ = ["DEFAULT_URL", "Config", "client_of", "config_path", "connect", "docker_host", "read", "shown_key", "terminal_kind", "write"]


def docker_host() -> str | None:
    """Where the docker command would look for its engine, for local runs."""
    return os.environ.get("DOCKER_HOST") or None


def terminal_kind() -> str:
    """What this terminal calls itself, for one inside a sandbox."""
    return os.environ.get("TERM") or "dumb"


def connect() -> Surface:
    return client_of(read())


def client_of(config: Config) -> Surface:
    from fumehood.client.surface import Surface

    return Surface(config.url, config.key)
