"""Each control of the API, taken away: then an attack of the corpus must succeed, or the attack proves nothing.

The API runs in this process, behind the server that it has in the service. `ground` is what holds with and without the control: a
smaller number that an attack reaches sooner. On that ground the attack is tried twice.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.protocol import Door, patient
from api.records import StoredFile
from fumehood.errors import NotFound
from fumehood.job_store import JobStore
from fumehood.tenant import new_key
from fumehood.testing import free_port
from tests.hostile.desk.crowds import CROWDS
from tests.hostile.desk.documents import DOCUMENTS, FORMS
from tests.hostile.desk.fields import FIELDS
from tests.hostile.desk.framing import FRAMING
from tests.hostile.desk.target import PATIENCE_SECONDS, SMALL, Target, describing, populate
from tests.hostile.desk.walking import WALKING
from tests.hostile.desk.wire import Attack, Ending
from tests.services import until
from tests.unit.front_desk import Stand

SEEN = "seen"
"""What the attack itself looks at did not hold: a secret in an answer, a header that lacks, somebody who was not served."""
SOON_SECONDS = 3.0
SHORT = {
    f"tests.hostile.desk.{place}": SOON_SECONDS for place in ("wire.ANSWER_SECONDS", "crowds.ANSWER_SECONDS", "crowds.DROPPED_SECONDS")
}
NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """`attack` succeeds without the control: `ends` is how. What is away are values by dotted name, and settings."""

    attack: Attack
    ends: Ending
    away: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    ground: Mapping[str, Any] = field(default_factory=dict)
    connections_max: int = 1024
    """On the ground; a setting of this name wins."""


def nothing_wrong(head: bytes, request: object) -> None:
    """Of a head."""


def of_anybody(get_job: Callable[..., Any]) -> Callable[..., Any]:
    """The store, without the question whose a job is."""

    def get(self: JobStore, tenant: str, job_id: str) -> Any:
        for each in (tenant, *TENANTS):
            try:
                return get_job(self, each, job_id)
            except NotFound:
                continue
        raise NotFound("there is no job with this id")

    return get


TENANTS: list[str] = []


def believed(entry: dict[str, Any], stored: int) -> StoredFile:
    return StoredFile(name=str(entry["name"]), media_type="text/html", offset=entry["offset"], bytes=entry["bytes"])


def unquoted(name: str, *, inline: bool = False) -> str:
    return f'attachment; filename="{name}"'


def as_it_is(key: str, salt: bytes) -> bytes:
    return key.encode()


UNHASHED = {"fumehood.tenant_store.hash_key": as_it_is, "fumehood.tenant.hash_key": as_it_is}


def in_place(name: str, *, inline: bool = False) -> str:
    return "inline"


MUTATIONS: dict[str, Mutation] = {
    # where a request ends
    "one framing only": Mutation(attack=FRAMING["two framings"], ends=(400, 200), away={"api.framing.fault_of": nothing_wrong}),
    "no folded headers": Mutation(attack=FRAMING["a folded header"], ends=(400, 200), away={"api.framing.fault_of": nothing_wrong}),
    "versions": Mutation(attack=FRAMING["a version that is none"], ends=(200, 200), away={"api.framing.fault_of": nothing_wrong}),
    "whole line ends": Mutation(
        attack=FRAMING["lines that end early"], ends=(200, 200), away={"api.framing.has_lone_line_feed": lambda lines: False}
    ),
    "whole line ends of trailers": Mutation(
        attack=FRAMING["a trailer that ends early"], ends=(422, 200), away={"api.framing.has_lone_line_feed": lambda lines: False}
    ),
    "size of a head": Mutation(attack=FRAMING["a head that is long"], ends=(200,), away={"api.framing.HEAD_BYTES": 2**20}),
    "number of headers": Mutation(attack=FRAMING["many headers"], ends=(200,), away={"api.framing.HEADERS_MAX": 10**6}),
    # what is said
    "size of a document": Mutation(attack=DOCUMENTS["a document that is long"], ends=(422,), settings={"document_bytes": 2**30}),
    "size of a script": Mutation(attack=DOCUMENTS["a script that is long"], ends=(202,), settings={"script_bytes": 2**30}),
    "depth": Mutation(attack=DOCUMENTS["a little too deep"], ends=(202,), away={"api.documents.DEPTH_MAX": 10**6}),
    "number of values": Mutation(
        attack=DOCUMENTS["nothing, half a million times"], ends=(422,), away={"api.documents.VALUES_MAX": 10**9}
    ),
    "names that stand once": Mutation(attack=DOCUMENTS["a name that stands twice"], ends=(202,), away={"api.documents._object": dict}),
    "names in plain letters": Mutation(
        attack=DOCUMENTS["a label's name from elsewhere"], ends=(202,), away={"api.drafts.LABEL_KEY": re.compile(".*")}
    ),
    "no control characters": Mutation(
        attack=DOCUMENTS["a line's end in a label"], ends=(202,), away={"api.drafts.showable": lambda text: True}
    ),
    "parameters of all items": Mutation(
        attack=DOCUMENTS["parameters that all share"], ends=(202,), away={"api.batch_submission.JOBS_PARAMETERS_BYTES": 2**40}
    ),
    "size of a part": Mutation(attack=FORMS["a table that is long"], ends=(202,), settings={"dataset_bytes": 2**30}),
    "headers of a part": Mutation(attack=FORMS["many headers in a part"], ends=(202,), away={"api.multipart.HEADERS_MAX": 10**6}),
    "size of a part's header": Mutation(attack=FORMS["a header that is long"], ends=(202,), away={"api.multipart.HEADER_BYTES": 2**20}),
    "size of an upload": Mutation(attack=FORMS["an upload that is long"], ends=(201,), settings={"dataset_bytes": 2**30}),
    "names in an address": Mutation(
        attack=FORMS["an upload named by control characters"], ends=(201,), away={"api.datasets.showable": lambda text: True}
    ),
    # who says it
    "the whole key is compared": Mutation(
        attack=FIELDS["a key that begins well"], ends=(200,), away={"fumehood.tenant_store.key_matches": lambda *_: True}
    ),
    "keys are hashed": Mutation(
        attack=FIELDS["a copy of the home"], ends="a key", away=UNHASHED
    ),
    "whose a job is": Mutation(
        attack=WALKING["what is another's"], ends=SEEN, away={"fumehood.job_store.JobStore.get_job": of_anybody(JobStore.get_job)}
    ),
    "idempotency": Mutation(
        attack=FIELDS["idempotency: a key that was used"], ends=SEEN, away={"api.submission.idempotency_of": lambda *_: None}
    ),
    # what comes back
    "safe headers": Mutation(attack=FIELDS["a page from elsewhere"], ends=SEEN, away={"api.middleware.SAFE_HEADERS": NONE}),
    "pages of a script's are shut in": Mutation(
        attack=FIELDS["what a script called its files"], ends="not shut in", away={"api.results.SANDBOXED": NONE}
    ),
    "names in headers are quoted": Mutation(
        attack=FIELDS["what a script called its files"], ends="answered ()", away={"api.results.attachment": unquoted}
    ),
    "pages of a script's are not shown in place": Mutation(
        attack=FIELDS["what a script called its files"], ends="shown in place", away={"api.results.attachment": in_place}
    ),
    "files lie where they may": Mutation(attack=FIELDS["what a script called its files"], ends=SEEN, away={"api.records._file": believed}),
    "ids of requests are plain": Mutation(
        attack=FIELDS["ids of requests"], ends="6 of 6 came back", away={"api.middleware._REQUEST_ID": re.compile(".*", re.S)}
    ),
    # how many, and how slowly
    "patience with bodies": Mutation(
        attack=FRAMING["a length that is too long"], ends=SEEN, settings={"body_idle_seconds": 600.0}, ground=SHORT
    ),
    "the least speed": Mutation(
        attack=CROWDS["slow bodies"], ends="30 left", away={"api.bodies.CRAWL_BYTES_PER_SECOND": 1e-9}, ground=SHORT
    ),
    "patience with heads": Mutation(
        attack=CROWDS["slow heads"], ends="60 left", away={"api.protocol.PatientProtocol._look": lambda self: None}, ground=SHORT
    ),
    "patience with readers": Mutation(
        attack=CROWDS["answers that nobody reads"],
        ends="40 left",
        away={"api.protocol.PatientProtocol._look": lambda self: None},
        ground=SHORT,
    ),
    "no place for who does not read": Mutation(
        attack=CROWDS["answers that nobody reads"],
        ends=SEEN,
        away={"api.protocol.PatientProtocol.on_response_complete": H11Protocol.on_response_complete},
        ground={"api.places.REQUESTS_MAX": 10},
    ),
    "number of connections": Mutation(
        attack=CROWDS["idle connections"], ends="300 open", settings={"connections_max": 4096}, connections_max=128
    ),
    "the idle make room": Mutation(
        attack=CROWDS["idle connections"], ends=SEEN, away={"api.protocol.Door.longest_idle": lambda self: None}, connections_max=128
    ),
    "places of a tenant": Mutation(
        attack=CROWDS["waiters"], ends=SEEN, away={"api.places.Places.may_hold_another": lambda self, tenant: True}, ground=SHORT
    ),
    "places of all": Mutation(
        attack=CROWDS["waiters"], ends="health was told 200; 0 were refused", away={"api.places.REQUESTS_MAX": 10**6}, ground=SHORT
    ),
}  # fmt: skip


@contextmanager
def served(home: Path, template: Path, mutation: Mutation, settings: Mapping[str, Any]) -> Iterator[Target]:
    given = {"connections_max": mutation.connections_max, **SMALL, **settings}
    stand = Stand(home, template, **given)
    port = free_port()
    # A connection's patience is short on every ground; that of bodies is the setting's.
    door = Door(connections_max=stand.settings.connections_max, patience_seconds=PATIENCE_SECONDS)
    config = uvicorn.Config(
        stand.app, host="127.0.0.1", port=port, http=patient(door), lifespan="off", log_config=None, ws="none", access_log=False,
        server_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    running = asyncio.run_coroutine_threadsafe(server.serve(), stand.served._loop)
    try:
        until(lambda: server.started, seconds=20, what="the server listens")
        target = Target(port, stand.key, new_key(), home)
        populate(target, stand.worker)
        TENANTS[:] = [target.names["tenant"], target.names["their_tenant"]]
        with describing(stand.worker):
            yield target
    finally:
        server.should_exit = server.force_exit = True
        running.result(20)
        stand.close()


def ended(attack: Attack, target: Target) -> Ending:
    try:
        return attack.run(target)
    except (AssertionError, pytest.fail.Exception, TimeoutError, KeyError):
        return SEEN


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_the_control_an_attack_succeeds(name: str, tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation = MUTATIONS[name]
    for place, value in {**mutation.ground, **mutation.away}.items():
        monkeypatch.setattr(place, value)
    with served(tmp_path / "home", template, mutation, mutation.settings) as target:
        assert ended(mutation.attack, target) == mutation.ends


def test_every_mutation_ends_the_attack_otherwise() -> None:
    assert [name for name, mutation in MUTATIONS.items() if mutation.ends == mutation.attack.ends] == []


ON_GROUNDS = {name: mutation for name, mutation in MUTATIONS.items() if "api.places.REQUESTS_MAX" in mutation.ground}


@pytest.mark.parametrize("name", ON_GROUNDS)
def test_on_the_same_ground_the_control_holds(name: str, tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation = ON_GROUNDS[name]
    for place, value in mutation.ground.items():
        monkeypatch.setattr(place, value)
    with served(tmp_path / "home", template, mutation, {}) as target:
        assert ended(mutation.attack, target) == mutation.attack.ends
