"""The calls that a worker makes of its engine, each with its path and query, to the letter. Whatever is not in the table is refused.

`tests/docker/test_gate.py` drives the real `worker.docker_engine` through it, which holds the two together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from gate import bodies
from gate.bodies import Rules
from gate.refusal import Refused, shown
from worker.host_check import API_VERSION_MIN
from worker.isolation import LABEL_HOME, Host

TARGET = re.compile(r"(?:/v1\.([0-9]{1,3}))?(/[a-zA-Z0-9_/.:-]*)(?:\?([\x21-\x7e]*))?")
NAME = r"(?P<name>fumehood-[0-9a-f]{32})"
QUERY_FIELDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """`query`: what it must say, exactly. `body`: makes the engine's body of the worker's; without one there may be none."""

    method: str
    path: re.Pattern[str]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[str, bytes, Rules, Host], bytes] | None = None
    named: bool = False
    """The container's name is in the query."""
    mounts: bool = False
    """Its mounts take effect."""
    upgrade: bool = False
    old: bool = False
    """Also in versions of the API that do not know the whole policy, or without one: it makes and changes nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What the engine is asked, made by the gate."""

    route: str
    method: str
    target: str
    body: bytes = b""
    sandbox: str | None = None
    upgrade: bool = False

    @property
    def needs_ours(self) -> bool:
        """The container is there already, and must be this home's."""
        return self.sandbox is not None and self.route != "create"

    @property
    def mounts(self) -> bool:
        return ROUTES[self.route].mounts


def _route(method: str, path: str, **more: object) -> Route:
    return Route(method=method, path=re.compile(path), **more)  # type: ignore[arg-type]


CONTAINER = f"/containers/{NAME}"
ROUTES: dict[str, Route] = {
    "ping": _route("GET", "/_ping", old=True),
    "version": _route("GET", "/version", old=True),
    "info": _route("GET", "/info"),
    "image": _route("GET", r"/images/(?P<image>sha256:[0-9a-f]{64})/json"),
    "create": _route(
        "POST",
        "/containers/create",
        named=True,
        mounts=True,
        body=lambda name, body, rules, host: bodies.create(name, body, rules=rules, host=host),
    ),
    "attach": _route(
        "POST", f"{CONTAINER}/attach", upgrade=True, query={"stdin": "1", "stdout": "1", "stderr": "1", "stream": "1", "detachKeys": ""}
    ),
    "start": _route("POST", f"{CONTAINER}/start", mounts=True),
    "update": _route("POST", f"{CONTAINER}/update", body=lambda _name, body, rules, host: bodies.update(body, rules=rules, host=host)),
    "inspect": _route("GET", f"{CONTAINER}/json"),
    "kill": _route("POST", f"{CONTAINER}/kill", query={"signal": "SIGKILL"}),
    "wait": _route("POST", f"{CONTAINER}/wait", query={"condition": "not-running"}),
    "stats": _route("GET", f"{CONTAINER}/stats", query={"stream": "False", "one-shot": "True"}),
    "list": _route("GET", "/containers/json", query={"limit": "-1", "all": "1", "size": "0", "trunc_cmd": "0", "filters": "{home}"}),
    "remove": _route("DELETE", CONTAINER, query={"v": "True", "link": "False", "force": "True"}),
}


def judge(method: str, target: str, body: bytes, *, upgrade: bool, rules: Rules, host: Host) -> Call:
    """The call that the engine is asked. Raises Refused, and nothing else, whatever came."""
    parts = TARGET.fullmatch(target)
    matches = [
        (name, route, found)
        for name, route in ROUTES.items()
        if parts is not None and route.method == method and (found := route.path.fullmatch(parts[2])) is not None
    ]
    if parts is None or not matches:
        raise Refused(f"{shown(method)} {shown(target)} is no call that a worker needs; allowed are {', '.join(ROUTES)}")
    [(name, route, found)] = matches
    prefix = f"/v1.{int(parts[1])}" if parts[1] else ""
    # An older API leaves fields of the policy out without a word.
    if parts[1] and not route.old and (1, int(parts[1])) < API_VERSION_MIN:
        raise Refused(f"{name} in version 1.{parts[1]} of the API; expected at least {'.'.join(map(str, API_VERSION_MIN))}")
    named = found.groupdict()
    if named.get("image", rules.image) != rules.image:
        raise Refused(f"image is {shown(named['image'])}; expected {rules.image}")
    asked = _query(parts[3] or "")
    wanted = {key: value.replace("{home}", _filters(rules)) for key, value in route.query.items()}
    sandbox = named.get("name")
    if route.named:
        sandbox = asked.get("name", "")
        if re.fullmatch(NAME, sandbox) is None:
            raise Refused(f"name is {shown(sandbox)}; expected fumehood- and 32 hexadecimal digits")
        wanted["name"] = sandbox
    if asked != wanted:
        raise Refused(f"{name} with {shown(asked)}; expected {shown(wanted)}")
    if route.upgrade != upgrade:
        raise Refused(f"{name} {'with' if upgrade else 'without'} an upgrade of the connection; expected the other")
    if body and route.body is None:
        raise Refused(f"{name} with a body; expected none")
    return Call(
        route=name,
        method=method,
        target=prefix + parts[2] + (f"?{urlencode(wanted)}" if wanted else ""),
        body=route.body(sandbox or "", body, rules, host) if route.body else b"",
        sandbox=sandbox,
        upgrade=upgrade,
    )


def _filters(rules: Rules) -> str:
    return json.dumps({"label": [f"{LABEL_HOME}={rules.home}"]})


def _query(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=QUERY_FIELDS)
    except ValueError:
        raise Refused(f"the query is {shown(text)}; expected names and values") from None
    if len(dict(pairs)) != len(pairs):
        raise Refused(f"the query is {shown(text)}; expected each name once")
    return dict(pairs)
