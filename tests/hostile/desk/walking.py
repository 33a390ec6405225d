"""Attacks on ids and paths: everything that has a name in its address, with names that are another's, or none at all."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator

from fastapi.routing import APIRoute

from api.app import PARTS
from tests.hostile.desk.target import ANSWER_SECONDS, SECRET, Target
from tests.hostile.desk.wire import Attack, Ending

ROUTES = [route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute)]
WITH_IDS = sorted({(method, route.path) for route in ROUTES for method in route.methods if "{" in route.path})
OPERATOR = "/v1/admin/"  # the target's key is the operator's, and `default` is a tenant's name
THEIRS = {"job_id": "their_job", "dataset_id": "their_dataset", "batch_id": "their_batch", "script": "their_script"}
OURS = {"job_id": "job", "dataset_id": "dataset", "batch_id": "batch", "script": "script"}
REST = {"n": "0", "number": "0", "name:path": "models/%C3%A4%20b.bin", "port": "script", "digest": "sha256:" + "0" * 64}
REST |= {"other": "0", "alias": "prod"}
TAKES_A_NAME = ("PUT", "/v1/scripts/{script}")  # which is everybody's to take, once each

# In place of a name. `{…}` is one of the target's.
JUNK = (
    *("", ".", "..", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "..%5c..%5cetc", "%2fetc%2fpasswd", "....//....//etc", "%252e%252e%252f"),
    *(
        "%00",
        "{their_job}%00",
        "{their_job}%0a",
        "{their_job}%20",
        "{their_job}/",
        "{their_job}.json",
        "{their_job};x",
        "{their_job}%2f..%2f{job}",
    ),
    *("x" * 8000, "job_", "job_" + "0" * 31, "job_" + "0" * 33, "job_" + "%EF%BC%90" * 32, "job_" + "g" * 32, "ten_" + "0" * 32),
    *(
        "%ff%fe",
        "%c0%ae%c0%ae",
        "%ed%a0%80",
        "%e2%80%ae",
        "%1b%5d0%3bx%07",
        "%0d%0aX-Injected:%201",
        "%25s%25n",
        "%7b%7d",
        "*",
        "%25",
        "-1",
    ),
    *("'%20OR%20'1'='1", "null", "undefined", "0", "9" * 400, "1e3", "%D9%A3", "+1", "0x0", "NaN", "true", "__proto__", "default"),
)


def asked(target: Target, requests: list[tuple[str, str]], key: str | None = None) -> Iterator[tuple[int, bytes]]:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=ANSWER_SECONDS)
    for method, path in requests:
        path = target.filled(path.encode()).decode()
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Authorization", f"Bearer {key or target.key}")
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        assert answer.getheader("x-injected") is None, path
        assert answer.status < 500, (method, path, answer.status)
        yield answer.status, body
    connection.close()


def summed(found: Iterator[tuple[int, bytes]]) -> Ending:
    all_found = list(found)
    assert not any(SECRET.encode() in body.replace(b"our_" + SECRET.encode(), b"") for _, body in all_found)
    return tuple(sorted({status for status, _ in all_found}))


def filled(path: str, names: dict[str, str]) -> str:
    for name, known in names.items():
        path = path.replace("{" + name + "}", "{" + known + "}")
    for name, value in REST.items():
        path = path.replace("{" + name + "}", value)
    return path


def another_s(target: Target) -> Ending:
    """Every call about one thing, with the id of the neighbour's: as if it were not there. The operator's are about everybody's."""
    calls = [
        (method, filled(path, THEIRS)) for method, path in WITH_IDS if not path.startswith(OPERATOR) and (method, path) != TAKES_A_NAME
    ]
    return summed(asked(target, calls))


def mixed(target: Target) -> Ending:
    """A part of ours below a thing of the neighbour's, and the other way round."""
    paths = [
        "/v1/jobs/{their_batch}",
        "/v1/batches/{their_job}",
        "/v1/datasets/{their_job}",
        "/v1/jobs/{their_dataset}",
        "/v1/jobs/{batch}",
        "/v1/scripts/{their_script}/versions/1",
        "/v1/scripts/{script}/aliases/{their_script}",
    ]
    return summed(asked(target, [("GET", path) for path in paths]))


def in_other_letters(target: Target) -> Ending:
    """Our own id, spelled so that a comparison somewhere might take it for another's or for ours."""
    job = target.names["job"]
    spelled = [job.upper(), job[:-1], job + "0", job.replace("_", "%5f%5f"), "%00" + job, job + "%00", " ".join(job).replace(" ", "%20")]
    return summed(asked(target, [("GET", f"/v1/jobs/{each}") for each in spelled]))


def neighbours_of_ids(target: Target) -> Ending:
    """Ids beside one that is known: there is no next one."""
    prefix, digits = target.names["their_job"].split("_")
    walked = [f"{prefix}_{int(digits, 16) + step:032x}"[:36] for step in range(-20, 21) if step]
    return summed(asked(target, [("GET", f"/v1/jobs/{each}") for each in walked]))


def junk(path: str, method: str) -> Attack:
    """In every place of the path in turn, the others being ours."""
    requests = []
    for place in re.findall(r"{[^}]+}", path):
        for text in JUNK:
            replaced = path.replace(place, text)
            requests.append((method, filled(replaced, OURS)))
    # A number that is none is told as such; an empty name is another address.
    allowed = {404, 405, 422} | ({200, 409} if path.endswith("/{n}") or "{number}" in path or path.startswith(OPERATOR) else set())

    def run(target: Target) -> Ending:
        found = summed(asked(target, requests))
        return "nothing is there" if set(found) <= allowed else found

    return Attack(tries=f"{method} {path}: what is another's, what is the machine's, a mistake of ours", ends="nothing is there", run=run)


WALKING: dict[str, Attack] = {
    "what is another's": Attack(tries="every call with ids of another's", ends=(404,), run=another_s),
    "ids of another kind": Attack(tries="a thing by the name of another", ends=(404,), run=mixed),
    "ids in other letters": Attack(tries="a comparison that is not exact", ends=(404,), run=in_other_letters),
    "the next id": Attack(tries="a guess from an id that is known", ends=(404,), run=neighbours_of_ids),
    # A deletion that hit would be seen by `theirs_are_there`; ours stays for the others.
    **{f"junk: {path}": junk(path, method) for method, path in WITH_IDS if method == "GET"},
}
