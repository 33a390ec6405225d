"""The walk over the OpenAPI document: every call with values nobody thought of; each answer is held against the document.

Values come from schemathesis, always the same ones. Two things are steered, so that the walk gets past the first refusal: two
thirds of the ids are of things that are there (then from their first page on), and then half of the submissions are of a script that runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

SEED = 20
SCRIPT = "def azureml_main(dataframe1=None, dataframe2=None, **parameters):\n    return dataframe1\n"
CALLBACK = "https://example.com/hook"
ANSWER_SECONDS = 30
WAIT_SECONDS_MAX = 0.5
OPEN = ("/healthz", "/readyz", "/openapi.json")
STUDIO_JOBS = "/compat/studio/workspaces/{workspace}/services/{service}/jobs"
OF_A_SCRIPT = tuple(f"/v1/scripts/{{script}}/{what}" for what in ("score", "jobs", "batches"))
# What callers say beside the call; headers that the document does not name are any caller's right.
SAID: dict[str, list[str]] = {
    "Accept": ["*/*", "text/csv", "application/json", "application/vnd.apache.arrow.file", "application/*;q=0.1", "image/png", "a"],
    "Range": ["bytes=0-3", "bytes=2-", "bytes=-1", "bytes=999999999999-", "bytes=3-1", "bytes=0-1,3-4", "rows=0-1", "="],
    "If-None-Match": ["*", '"a"', 'W/"a", "b"', '"'],
    "Prefer": ["wait=0", "wait=0.2", "wait=-1", "wait=a", "respond-async", "wait=0, wait=0"],
    "Idempotency-Key": ["walk-1", "walk-2", "x" * 256],
    "Last-Event-ID": ["0", "1-0", "99999999999999999999-0", "a"],
}
MODES = {"as described": GenerationMode.POSITIVE, "not as described": GenerationMode.NEGATIVE}
KNOWN = st.sampled_from([True, True, False])
SAYING = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SAID.items()})


def no_mistake_of_ours(context: CheckContext, response: Response, case: Case) -> bool | None:
    """No 5xx, except a 503 that the document names and that says when to ask again."""
    if response.status_code == 503 and "503" in case.operation.definition.raw["responses"]:
        assert response.headers.get("retry-after") or case.path == "/readyz", "503 without Retry-After"
        return None
    assert response.status_code < 500, f"{case.method} {case.path}: {response.status_code} {response.text[:500]}"
    return None


def problems_are_whole(context: CheckContext, response: Response, case: Case) -> bool | None:
    """Every refusal is a problem document that agrees with its status."""
    if response.status_code >= 400 and case.path != "/readyz" and case.method != "HEAD":
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["type"].startswith("urn:fumehood:problem:")
        assert problem["title"]
        assert problem["detail"]
    return None


CHECKS: list[Any] = [
    no_mistake_of_ours,
    problems_are_whole,
    status_code_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
]


@dataclass
class Walk:
    """`known`: what stands in the path → values that are there; with a method before it, those that this method may have; with
    method and path, those that this call may have."""

    address: str
    key: str
    known: dict[str, list[str]]
    seen: dict[str, set[int]] = field(default_factory=dict)
    """Operation → the statuses that it answered."""

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        document = self.session.get(f"{self.address}/openapi.json", timeout=ANSWER_SECONDS).json()
        for methods in document["paths"].values():
            for operation in methods.values():
                operation.pop("security", None)  # the key is the walk's; values that are wrong shall be wrong elsewhere
        self.schema: BaseSchema = schemathesis.openapi.from_dict(document)

    def operations(self) -> Iterator[APIOperation]:
        for found in self.schema.get_all_operations():
            yield found.ok()

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def go(self, operation: APIOperation, mode: str, *, examples: int) -> None:
        """Call the operation so often, with values of `mode`; the first answer that is not as described fails, with its request."""

        @_always_the_same(examples)
        @given(case=operation.as_strategy(generation_mode=MODES[mode]), known=KNOWN, pick=st.integers(0, 63), said=SAYING)
        def call(case: Case, known: bool, pick: int, said: dict[str, str]) -> None:
            if known:
                self._steer(case, pick, MODES[mode])
            self._answer(case, {**said, "Authorization": f"Bearer {self.key}"})

        with contextlib.suppress(Unsatisfiable):  # a call that takes nothing has nothing to be wrong
            call()

    def without_a_key(self, operation: APIOperation) -> None:
        """One call as described, with no key, an unknown one and half of one."""

        @_always_the_same(3)
        @given(case=operation.as_strategy(), header=st.sampled_from([None, f"Bearer {self.key[:-1]}0", f"Bearer {self.key[:20]}"]))
        def call(case: Case, header: str | None) -> None:
            if header is not None and header.removeprefix("Bearer ") == self.key:
                return
            answer = self._answer(case, {} if header is None else {"Authorization": header})
            assert (answer.status_code == 401) != (case.path in OPEN), (case.method, case.path, answer.status_code)

        call()

    def _answer(self, case: Case, headers: dict[str, str]) -> Response:
        # The document lets a caller wait for a minute; the walk has not the time.
        if isinstance(waits := (case.query or {}).get("wait"), int | float) and waits > WAIT_SECONDS_MAX:
            case.query["wait"] = WAIT_SECONDS_MAX
        # Nor for a stream to end by itself.
        if case.path.endswith("/events") and isinstance(case.query, dict) and isinstance(case.query.get("seconds", 1), int | float):
            case.query["seconds"] = min(case.query.get("seconds", 1), WAIT_SECONDS_MAX)
        for name in [name for name in case.headers or {} if name.title() in headers.keys() | {"Authorization"}]:
            del case.headers[name]  # the walk's own word counts
        answer = case.call(base_url=self.address, session=self.session, headers=headers, timeout=ANSWER_SECONDS)
        self.seen.setdefault(f"{case.method} {case.path}", set()).add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)
        return answer

    def _steer(self, case: Case, pick: int, mode: GenerationMode) -> None:
        for name in case.path_parameters or {}:
            places = (f"{case.method} {case.path} {name}", f"{case.method} {name}", name)
            if values := next((self.known[place] for place in places if place in self.known), None):
                case.path_parameters[name] = values[pick % len(values)]
                if isinstance(case.query, dict):
                    case.query.pop("cursor", None)
        if case.path.endswith("/aliases/{alias}") and case.method == "PUT" and mode is GenerationMode.POSITIVE:
            case.body = {"versions": [{"number": 1}]}  # any number else is one of a version that is not there
        if case.path in OF_A_SCRIPT and isinstance(case.query, dict) and mode is GenerationMode.POSITIVE:
            # Any number else is one of a version that is not there, and any name one of an alias.
            case.query.update({name: said for name, said in (("version", 1), ("alias", "latest")) if name in case.query})
            if {"version", "alias"} <= case.query.keys():
                del case.query[("version", "alias")[pick % 2]]
        if case.path == STUDIO_JOBS and case.method == "POST" and mode is GenerationMode.POSITIVE and pick % 2:
            case.body = {"GlobalParameters": {}}
        part = {"/v1/jobs": "job", "/v1/batches": "batch", "/v1/scripts/{script}": "version"}.get(case.path)
        part = part or {OF_A_SCRIPT[1]: "job", OF_A_SCRIPT[2]: "batch"}.get(case.path)
        if part and case.method in ("POST", "PUT") and isinstance(case.body, dict):
            whole = case.media_type != "multipart/form-data"
            document = case.body if whole else case.body.get(part)
            if part == "batch" and mode is GenerationMode.POSITIVE:
                # Whatever else a document may say, the walk over jobs tries.
                document = {"isolation": ("item", "batch")[pick % 2], "items": [{"parameters": {"a": 1}}, {}][: 1 + pick % 3]}
                case.body = document if whole else {part: document}
            if part == "version" and mode is GenerationMode.POSITIVE and pick % 2:
                document = {"concurrency": 1 + pick}
                case.body = document if whole else {part: document}
            if part == "job" and mode is GenerationMode.POSITIVE and pick % 2:
                # Names of labels, addresses and ids are any string to the document, and hardly ever one that is taken.
                document = {"callback_url": CALLBACK}
                case.body = document if whole else {part: document}
            if isinstance(document, dict) and case.path not in OF_A_SCRIPT:
                document["script"] = SCRIPT


def _always_the_same(examples: int) -> Any:
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a request that was made smaller would be sent again, to a service that has changed
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: seed(SEED)(chosen(test))
