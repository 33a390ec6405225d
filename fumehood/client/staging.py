"""Staging: what a request carries besides its document, as files that can be sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fumehood.client.body import Upload
from fumehood.client.functions import BUNDLE_NAME, Script, write_bundle
from fumehood.client.inputs import Sendable, bundle_input, table_input
from fumehood.client.script import plain_number
from fumehood.dataset import FORMATS


@dataclass(frozen=True, slots=True)
class Staged:
    script: Upload
    inputs: dict[str, Sendable]
    """By port."""

    @property
    def bytes(self) -> int:
        """Of what travels."""
        return sum(one.bytes for one in (self.script, *self.inputs.values()) if isinstance(one, Upload))


def stage(script: Script, tables: Mapping[str, Any], bundle: Any, place: Path) -> Staged:
    """`tables` by port, None where a port is not connected. Writes into the directory `place`. Raises NotSendable."""
    path = place / script.name
    path.write_bytes(script.text.encode())
    inputs = {port: table_input(port, value, place) for port, value in tables.items() if value is not None}
    given = bundle_input(bundle, place) if bundle is not None else None
    if script.modules and (given is None or isinstance(given, Upload)):
        write_bundle(place / "modules.zip", script.modules, beside=given.path if given is not None else None)
        name = BUNDLE_NAME if given is None else given.name or given.path.name
        given = Upload(path=place / "modules.zip", media_type=FORMATS["zip"][0][0], name=name)
    if given is not None:
        inputs["bundle"] = given
    return Staged(Upload(path=path, media_type="text/x-python"), inputs)


def plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that were checked, as JSON's own values: what is no number of JSON's by itself (NumPy's) becomes one."""
    found: dict[str, Any] = json.loads(json.dumps(dict(parameters), default=plain_number))
    return found
