"""Two tenants at one desk: everything of the one by every name that a request can say, and the walk of the other over all calls.

Each call is made twice: with a name of what the first one has, and with a name of the same shape that never was anything's. Whoever
asks must not be able to tell the two answers apart. The calls are made from the OpenAPI document; what the tables here do not know is
an error, so that no call and no parameter can come to be without someone having thought of it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fumehood.job import Lane, new_id
from fumehood.job_store import JobStore
from fumehood.outcome import Reason
from fumehood.quota import DAY_SECONDS
from fumehood.schema import METADATA
from tests.unit.front_desk import CSV, Counter, Made, Stand
from worker.expiry import Expiry

# Stands in all that the first tenant writes; the same number of letters stand in what never was.
MARK, NEVER = "onlyofone", "ofnobody1"
IMAGE = "sha256:" + "0" * 64
SCRIPT = f"# {MARK}\ndef azureml_main(a=None, b=None, **parameters):\n    return a,\n"
CALLBACK = f"https://example.com/{MARK}"
ASKED_TWICE = {"cache": True}
AGES = 400 * DAY_SECONDS

# What a part of a path, of a query or of the headers can name of a tenant's, by its name or by that behind the call's own.
IN_PATH = {"dataset_id": "dataset", "job_id": "job", "batch_id": "batch", "delivery_id": "delivery", "tenant": "tenant", "prefix": "prefix"}
IN_PATH |= {"script": "script", "alias": "alias", "service": "script"}
BESIDE = {
    "cursor": "cursor",
    "about": "about",
    "alias": "alias",
    "list_jobs label": "label",
    "read_usage label": "label name",
    "list_datasets name": "name",
    "read_audit tenant": "tenant",
    "idempotency-key": "idempotency",
    "last-event-id": "event",
    "if-none-match": "etag",
    "if-range": "etag",
}
# These name nothing of anybody's.
PLAIN_IN_PATH = {
    "number": ["0", "1", "7"],
    "other": ["2", "9"],
    "n": ["0"],
    "name": ["models/ä b.bin"],
    "port": ["script", "dataset1"],
    "digest": [IMAGE],
    "workspace": ["w"],
    "output": ["output1"],
}
PLAIN_BESIDE = {"limit", "state", "wait", "seconds", "from", "to", "by", "pinned", "prefer", "range", "partial", "upload_dataset name"}
PLAIN_BESIDE |= {"version", "api-version", "details", "format"}
# Said with every call that knows them; streams would not end else.
ALWAYS = {"seconds": "0"}
# A cursor over values is only one where there are such values.
WITH = {"read_usage cursor": {"label": f"key-{MARK}"}}
OPERATORS = ("/v1/admin", "/metrics")
# Names of rows.
KINDS = ("job", "dataset", "batch", "delivery", "tenant", "prefix", "script", "version")


@dataclass(frozen=True, slots=True)
class Call:
    operation: str
    method: str
    path: str
    more: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {json.dumps(self.more, default=repr)[:300]}"


class Names:
    """What the first tenant has, by kind of name; and beside each name one of the same shape that never was."""

    def __init__(self) -> None:
        self.pairs: dict[str, list[tuple[str, str]]] = {}
        self.secret: set[str] = {MARK}
        """What no answer to the other may hold that it did not say itself."""

    def add(self, kind: str, *names: str) -> None:
        self.pairs.setdefault(kind, []).extend((name, never(name)) for name in names)
        self.secret |= {name for name in names if len(name) > 8}


def never(name: str) -> str:
    """A name of the same shape that nothing ever had."""
    kind, _, rest = name.partition("_")
    if re.fullmatch("[0-9a-f]{32}", rest):
        return new_id(kind)
    if re.fullmatch("[0-9a-f]{12}", name):
        return f"{(int(name, 16) + 1) % 16**12:012x}"
    if re.fullmatch(r"[0-9]+-[0-9]+", name):
        return f"{int(name.partition('-')[0]) + 10**9}-0"
    if re.fullmatch('"[0-9a-f]{40}"', name):
        return f'"{0:040}"'
    return name.replace(MARK, NEVER)


def never_cursor(cursor: str) -> str:
    return cursor[::-1] if cursor[::-1] != cursor else "A" * len(cursor)


# everything there is ------------------------------------------------------------------------------------------------------
def everything_of(stand: Stand, us: Counter) -> Names:
    """One of all that a tenant can have, in every state; what expired first, because it takes a year."""
    names, worker = Names(), stand.worker
    ready(stand)

    def dataset(content: str, *, name: str, media_type: str = CSV, **query: Any) -> str:
        answer = us.upload(f"{content}{MARK}\n".encode(), media_type, params={"name": f"{name}-{MARK}.csv", **query})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(**document: Any) -> str:
        answer = us.submit(**{"script": SCRIPT, "labels": {f"key-{MARK}": f"value-{MARK}"}, **document})
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    def batch(count: int = 2, **document: Any) -> str:
        items = [{"name": f"{number}-{MARK}", "parameters": {"n": number}} for number in range(count)]
        answer = us.post("/v1/batches", json={"script": SCRIPT, "items": items, **document})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def publish(name: str, headers: dict[str, str] | None = None) -> str:
        document = {"script": SCRIPT, "sample": table, "description": MARK, "parameters": {MARK: {"type": "int", "default": 1}}}
        answer = us.put(f"/v1/scripts/{name}-{MARK}", json=document, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job"])

    expired = dataset("old,b\n", name="old")
    expired_job, expired_batch = job(), batch()
    worker.work(Lane.JOBS)
    clock = stand.store._clock
    stand.store._clock = lambda: time.time() + AGES
    deps = _Deps(store=stand.store, blobs=stand.desk.blobs, monotonic=time.monotonic, now=stand.store._clock)
    for _ in range(3):
        Expiry(deps, round_seconds=30).take_away()  # type: ignore[arg-type]
    stand.store._clock = clock
    for path in (f"datasets/{expired}", f"jobs/{expired_job}", f"batches/{expired_batch}"):
        assert us.get(f"/v1/{path}").status_code == 410, path

    table, second, pinned = (
        dataset("a,b\n1,2\n", name="table"), dataset("b,c\n", name="second"), dataset("c,d\n", name="pinned", pinned=True),
    )  # fmt: skip
    bundle = dataset("PK", name="bundle", media_type="application/zip")
    asked_twice = job(**ASKED_TWICE, parameters={"a": MARK})
    done = job(dataset1=table, bundle=bundle, callback_url=CALLBACK, cache=True)
    worker.work(Lane.JOBS)
    cached = job(dataset1=table, bundle=bundle, cache=True)
    taken = us.get(f"/v1/jobs/{cached}").json()["cached_from"]
    assert (taken or {}).get("job") == done, taken
    kept_key = us.submit(script=SCRIPT, headers={"Idempotency-Key": f"again-{MARK}"}).json()["id"]
    batch_key = us.post(
        "/v1/batches", json={"script": SCRIPT, "items": [{}]}, headers={"Idempotency-Key": f"many-{MARK}"}
    ).json()["id"]  # fmt: skip
    ended_batch = batch(callback_url=CALLBACK)
    checks = [publish("score") for _ in range(3)]
    assert us.post(f"/v1/jobs/{checks[2]}/cancel").status_code == 202
    worker.work(Lane.JOBS)
    for number in (1, 2):
        answer = us.put(f"/v1/scripts/score-{MARK}/aliases/prod-{MARK}", json={"versions": [{"number": number}]})
        assert answer.status_code == 200, answer.text
    failed = job(labels={f"key-{MARK}": f"second-{MARK}"})
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed, Made(Reason.SCRIPT_ERROR, MARK, error={"type": "ValueError", "message": MARK, "traceback": MARK}))
    cancelled = job(callback_url=CALLBACK)
    assert us.post(f"/v1/jobs/{cancelled}/cancel").status_code == 202
    running = job(dataset1={"job": done, "output": "result"})
    assert worker.claim() is not None
    stand.events.publish_all(running, [("log", {"attempt": 1, "offset": 0, "text": MARK})])
    running_batch = batch()
    assert worker.claim() is not None
    queued = [job(), job(priority=5)]
    publish("young", {"Idempotency-Key": f"version-{MARK}"})
    for preview in (f"datasets/{table}", f"jobs/{done}/result", f"jobs/{done}/result2"):
        assert us.get(f"/v1/{preview}/preview").status_code == 200, preview

    names.add("dataset", table, second, pinned, bundle, expired)
    names.add("job", done, cached, asked_twice, kept_key, failed, cancelled, running, *queued, expired_job, *checks)
    names.add("batch", ended_batch, batch_key, running_batch, expired_batch)
    names.add("script", f"score-{MARK}", f"young-{MARK}")
    names.add("alias", f"prod-{MARK}", "latest")
    names.add("version", *(one["id"] for one in us.get(f"/v1/scripts/score-{MARK}/versions").json()["items"]))
    names.add("delivery", *(one["id"] for one in us.get("/v1/webhooks/deliveries").json()["items"]))
    names.add("about", done, ended_batch, cancelled)
    tenant = stand.store.list_tenants()[0][0]
    assert tenant.name == "default"
    names.add("tenant", tenant.id)
    names.pairs["tenant"].append(("default", "nothing"))
    names.add("prefix", *(key.prefix for key in stand.store.list_keys("default")))
    names.add("label", f"key-{MARK}:value-{MARK}")
    names.add("label name", f"key-{MARK}")
    names.add("name", f"table-{MARK}.csv", f"old-{MARK}.csv")
    names.add("idempotency", f"again-{MARK}", f"many-{MARK}", f"version-{MARK}")
    names.add("event", *(event.id for stream in (tenant.id, running) for event in stand.events.published(stream)[-2:]))
    names.add("etag", *(us.get(f"/v1/{path}").headers["etag"] for path in (f"datasets/{table}/content", f"jobs/{done}/result")))
    names.secret |= {us.get("/v1/webhooks/secret").json()["secret"]}
    lists = {"jobs": {}, "datasets": {}, "batches": {}, "webhooks/deliveries": {}, f"batches/{ended_batch}/items": {}}
    lists |= {"scripts": {}, f"scripts/score-{MARK}/versions": {}}
    lists["usage"] = {"label": f"key-{MARK}"}
    for path, query in lists.items():
        following = us.get(f"/v1/{path}", params={"limit": 1, **query}).json()["next"]
        assert following is not None, path
        names.pairs.setdefault("cursor", []).append((following, never_cursor(following)))
    return names


def ready(stand: Stand) -> None:
    """There is a worker, for as long as the walk takes."""
    tomorrow = JobStore(stand.settings.store_url, clock=lambda: time.time() + DAY_SECONDS)
    tomorrow.worker_beat("wrk_test", {"ready": True, "image": IMAGE})
    tomorrow.close()


class _Deps:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


# what a body can name -----------------------------------------------------------------------------------------------------
def bodies_of(names: Names) -> dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """By call: pairs of bodies, the one with a name in it, the other with one that never was."""

    def each(*kinds: str) -> list[tuple[str, str]]:
        return [pair for kind in kinds for pair in names.pairs[kind]]

    def outputs() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        for one, other in each("job"):
            for output in ("result", "result2"):
                yield {"job": one, "output": output}, {"job": other, "output": output}

    tables: list[tuple[Any, Any]] = [*each("dataset"), *outputs()]
    jobs: list[tuple[Any, Any]] = [({}, {})]
    jobs += [({port: one}, {port: other}) for port in ("dataset1", "dataset2") for one, other in tables]
    jobs += [({"bundle": one}, {"bundle": other}) for one, other in each("dataset")]
    # A job that the other has run, word for word, and one that nobody has.
    jobs += [({**ASKED_TWICE, "parameters": {"a": MARK}}, {**ASKED_TWICE, "parameters": {"a": NEVER}})]
    jobs += [({"labels": {f"key-{MARK}": MARK}, "callback_url": CALLBACK}, {"labels": {f"key-{NEVER}": NEVER}, "callback_url": CALLBACK})]
    batches: list[tuple[Any, Any]] = [({"items": [{}]}, {"items": [{}]})]
    batches += [
        ({"items": [{}, {port: one}]}, {"items": [{}, {port: other}]}) for port in ("dataset1", "dataset2") for one, other in tables
    ]
    batches += [({"items": [{}], "dataset2": one}, {"items": [{}], "dataset2": other}) for one, other in tables]
    batches += [({"items": [{}], "bundle": one}, {"items": [{}], "bundle": other}) for one, other in each("dataset")]

    versions: list[tuple[Any, Any]] = [({}, {}), ({"description": MARK}, {"description": NEVER})]
    versions += [({"sample": one}, {"sample": other}) for one, other in tables]
    versions += [({"bundle": one}, {"bundle": other}) for one, other in each("dataset")]

    places: list[tuple[Any, Any]] = [
        tuple({"Inputs": {"input1": {"RelativeLocation": one}}} for one in pair)  # type: ignore[misc]
        for pair in each("dataset", "job")
    ]

    def as_json(pairs: list[tuple[Any, Any]], **always: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return [({"json": {**always, **one}}, {"json": {**always, **other}}) for one, other in pairs]

    def uploads() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for content in ("a,b\n1,2\n", "b,c\n", "old,b\n"):
            told = [{"content": f"{content}{word}\n".encode(), "headers": {"Content-Type": CSV}} for word in (MARK, NEVER)]
            yield told[0], told[1]

    tenants = [{"name": one} for one in ("default", "nothing")]
    return {
        "upload_dataset": list(uploads()),
        "submit_job": as_json(jobs, script=SCRIPT),
        "submit_batch": as_json(batches, script=SCRIPT),
        "publish_version": as_json(versions, script=SCRIPT),
        "score_script": list(uploads()),
        "execute_studio_service": list(uploads()),
        "score_studio_service": list(uploads()),
        "submit_studio_job": as_json([({}, {}), *places]),
        "submit_script_job": as_json([pair for pair in jobs if "bundle" not in pair[0]]),
        "submit_script_batch": as_json([pair for pair in batches if "bundle" not in pair[0]]),
        "set_alias": as_json([({"versions": [{"number": 1}]}, {"versions": [{"number": 1}]})]),
        "create_tenant": as_json([(tenants[0], tenants[1])]),
        "change_tenant": as_json([({"weight": 2}, {"weight": 2})]),
        "create_key": as_json([({"name": MARK}, {"name": NEVER})]),
        "rotate_key": as_json([({}, {})]),
    }


# the walk -----------------------------------------------------------------------------------------------------------------
class Strangers:
    """The walk of one tenant over the calls of the document, by the names of another."""

    def __init__(self, stand: Stand, names: Names) -> None:
        self.stand, self.names = stand, names
        self.bodies = bodies_of(names)
        self.asked: set[str] = set()

    def calls(self, document: Mapping[str, Any]) -> Iterator[tuple[Call, Call]]:
        """In pairs. Raises KeyError for a part of a call that nobody has thought of."""
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                yield from self._calls(path, method.upper(), operation)

    def _calls(self, path: str, method: str, operation: Mapping[str, Any]) -> Iterator[tuple[Call, Call]]:
        name, parameters = operation["operationId"], operation.get("parameters", [])
        known = {parameter["name"] for parameter in parameters}
        bodies = self.bodies[name] if "requestBody" in operation else [({}, {})]
        always = {"params": {key: value for key, value in ALWAYS.items() if key in known}}
        places = list(self._places(path))
        some = {one for one, _ in places[:2]}  # what is said beside the name is not said with every name
        for one, other in places:
            for first, second in bodies:
                yield Call(name, method, one, merged(always, first)), Call(name, method, other, merged(always, second))
            if method == "GET" and one in some:
                yield Call(name, "HEAD", one, always), Call(name, "HEAD", other, always)
                for said in ({"Accept": "text/event-stream"}, {"Accept": "a/b"}, {"Range": "bytes=9999-"}, {"If-None-Match": "*"}):
                    asked = merged(always, {"headers": said})
                    yield Call(name, "GET", one, asked), Call(name, "GET", other, asked)
        for parameter in parameters:
            if parameter["in"] == "path" or {parameter["name"].lower(), f"{name} {parameter['name']}"} & PLAIN_BESIDE:
                continue
            place = f"{name} {parameter['name']}"
            kind = BESIDE.get(place) or BESIDE[parameter["name"].lower()]
            where = "params" if parameter["in"] == "query" else "headers"
            for value, ghost in self.names.pairs[kind]:
                beside = merged(always, {"params": WITH.get(place, {})})
                pair = [
                    merged(beside, body, {where: {parameter["name"]: said}}) for body, said in zip(bodies[0], (value, ghost), strict=True)
                ]
                yield Call(name, method, places[0][0], pair[0]), Call(name, method, places[0][1], pair[1])

    def _places(self, path: str) -> Iterator[tuple[str, str]]:
        found = [(path, path)]
        for part in re.findall("{([a-z_]+)}", path):
            values = self.names.pairs[IN_PATH[part]] if part in IN_PATH else [(value, value) for value in PLAIN_IN_PATH[part]]
            hole = "{" + part + "}"
            found = [(one.replace(hole, value), other.replace(hole, ghost)) for one, other in found for value, ghost in values]
        yield from found

    def go(self, stranger: Counter, *, only: set[str] | None = None, operators: bool = True) -> None:
        """Every call, by the stranger. Raises AssertionError where an answer tells something, or a call did something to the other's."""
        before = self.all_of_the_other()
        for one, other in self.calls(self.stand.app.openapi()):
            if (only is not None and one.operation not in only) or (not operators and one.path.startswith(OPERATORS)):
                continue
            self.asked.add(one.operation)
            answer = self._ask(stranger, one)
            assert answer.status_code < 500 or one.operation == "readyz", f"{one}: {answer.text}"
            if other != one:
                self._require_equal(one, other, answer, self._ask(stranger, other))
            self._require_nothing_told(one, answer)
        after = self.all_of_the_other()
        changed = {
            place: (before.get(place), after.get(place)) for place in before.keys() | after.keys() if before.get(place) != after.get(place)
        }
        assert changed == {}, f"the other's things were changed: {changed}"

    def _ask(self, stranger: Counter, call: Call) -> Any:
        """What comes of a call that made something is forgotten again, so that the next one finds the stranger's things as this did."""
        answer = stranger.served.request(call.method, call.path, **merged({"headers": stranger.headers}, call.more))
        made = answer.headers.get("location") if answer.status_code in (200, 201, 202) else None
        if made is not None and made.startswith("/v1/scripts/"):
            version = self.stand.other.get(made)
            assert version.status_code == 200, f"{call} is answered with {made}, which is not the stranger's"
            self.stand.other.post(f"/v1/jobs/{version.json()['job']}/cancel")
            assert self.stand.other.delete("/".join(made.split("/")[:4])).status_code == 204
        elif made is not None:
            if "/datasets/" not in made:
                self.stand.other.post(f"{made}/cancel")
            assert self.stand.other.delete(made).status_code == 204, f"{call} is answered with {made}, which is not the stranger's"
        return answer

    def _require_equal(self, one: Call, other: Call, answer: Any, ghost: Any) -> None:
        shown = [told(each, call) for each, call in ((answer, one), (ghost, other))]
        assert shown[0] == shown[1], f"{one} is told from what never was: {shown[0]}; {other}: {shown[1]}"

    def _require_nothing_told(self, call: Call, answer: Any) -> None:
        text, said = f"{answer.headers!r}{answer.text}", f"{call.path}{call.more!r}"
        slipped = sorted(word for word in self.names.secret if word in text and word not in said)
        assert slipped == [], f"{call} tells of {slipped}: {text[:500]}"

    def all_of_the_other(self) -> dict[str, Any]:
        """Every row with a name of theirs in it, every file, every event."""
        store, found = self.stand.store, {}
        ids = {one for kind in KINDS for one, _ in self.names.pairs[kind]} - {"default"}
        tenant = self.names.pairs["tenant"][0][0]
        with store._database.reading() as connection:
            for table in METADATA.tables.values():
                if table.name == "audit":
                    continue  # the other's refusals stand there, with what was named
                for row in connection.execute(table.select()):
                    values = {key: value for key, value in row._mapping.items() if key != "used_at"}
                    if ids & {value for value in values.values() if isinstance(value, str)}:
                        found[f"{table.name} {[values[key.name] for key in table.primary_key]}"] = values
        root = self.stand.settings.home / "blobs" / tenant
        for path in root.rglob("*"):
            if path.is_file():
                about = path.stat()
                found[str(path)] = (about.st_size, about.st_mtime_ns, about.st_nlink)
        return found | {stream: self.stand.events.published(stream) for stream in ids}


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Queries and headers of all; of anything else the last word counts."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            whole[name] = {**whole.get(name, {}), **value} if name in ("params", "headers") else value
    return whole


_OWN = (
    (re.compile(r"(ds|job|bat|ver|msg|ten)_[0-9a-f]{32}"), r"\1_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)"), "<time>"),
    (re.compile(r"id: \d+-\d+"), "id: …"),
    (re.compile(r"[0-9a-f]{64}"), "<sha256>"),
    (re.compile(r"whsec_[A-Za-z0-9+/=]+"), "<secret>"),
    (re.compile(f"{MARK}|{NEVER}"), "<word>"),
)


def told(answer: Any, call: Call) -> tuple[int, dict[str, str], str]:
    """Status, headers and text, without what is another thing each time anyhow (how many requests are left of the stranger's own too),
    and without the name that was said."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id", "ratelimit")}
    said = json.dumps(call.more, default=str)
    words = {word for word in re.findall(r"[A-Za-z0-9_-]{6,}", f"{call.path} {said}") if re.search("[0-9]", word)}
    return answer.status_code, {name: _plain(value, words) for name, value in headers.items()}, _plain(answer.text, words)


def _plain(text: str, words: set[str]) -> str:
    for pattern, instead in _OWN:
        text = pattern.sub(instead, text)
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "<said>")
    return text
