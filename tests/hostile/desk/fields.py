"""Attacks in headers and addresses: keys, ids, ranges, preferences, and every value that comes back in a header."""

from __future__ import annotations

from tests.hostile.desk.documents import GOOD
from tests.hostile.desk.framing import JSON
from tests.hostile.desk.target import FILE_NAMES, Target
from tests.hostile.desk.wire import Answer, Attack, Ending, exchange, get, post, raw, statuses

LAST = "Connection: close"


def asked(path: str, ends: Ending, tries: str, *headers: str, method: str = "GET") -> Attack:
    return raw(get(path, LAST, *headers, method=method), ends, tries)


def keyed(credentials: str, tries: str) -> Attack:
    fields = f"GET /v1/jobs HTTP/1.1\r\nHost: desk\r\nConnection: close\r\n{credentials}\r\n\r\n"
    return raw(fields.encode("utf-8", "surrogateescape"), (401,), tries)


KEYS: dict[str, Attack] = {
    "no key": keyed("X: 1", "what needs one"),
    "an empty key": keyed("Authorization: Bearer ", "what needs one"),
    "a key that begins well": keyed(f"Authorization: Bearer {{key_begin}}{'0' * 64}", "a comparison of the beginning alone"),
    "a key of zeros": keyed(f"Authorization: Bearer fh_{'0' * 12}_{'0' * 64}", "a guess"),
    "a key by another scheme": keyed("Authorization: Basic {key}", "what needs a bearer"),
    "a key without a scheme": keyed("Authorization: {key}", "what needs a bearer"),
    "a key and more": keyed("Authorization: Bearer {key} x", "a part that compares equal"),
    "a key in capitals": keyed("Authorization: Bearer FH_{key}", "a key for each reader"),
    "a key with NUL": keyed("Authorization: Bearer {key}%00", "a string that ends early"),
    "a key of other digits": keyed("Authorization: Bearer fh_" + "\uff10" * 12 + "_" + "\uff10" * 64, "digits that are none"),
    "a key without end": keyed(f"Authorization: Bearer fh_{'a' * 20_000}", "time for a comparison"),
    "a key that is a pattern": keyed("Authorization: Bearer fh_%%%%%%%%%%%%_" + "%" * 64, "every key that is like it"),
    "a key that is a statement": keyed("Authorization: Bearer ' OR 1=1 --", "the store's own language"),
    "two keys": keyed("Authorization: Bearer x\r\nAuthorization: Bearer {key}", "a key for each reader"),
    "a key in the address": raw(get("/v1/jobs?key={key}", LAST, key=False), (422,), "a key that lands in logs"),
    "a key in a cookie": raw(get("/v1/jobs", LAST, "Cookie: key={key}", key=False), (401,), "a key that browsers send by themselves"),
    "a name that proxies give": raw(
        get("/v1/jobs", LAST, "X-Forwarded-User: default", "X-Tenant: {their_tenant}", key=False), (401,), "trust in a proxy"
    ),
}


def keys_that_repeat(*headers: str) -> bytes:
    return post("/v1/jobs", GOOD.encode(), JSON, *headers)


def replayed(target: Target) -> Ending:
    """The same key with the same request, and with another one; of another tenant's it is another key."""
    first = exchange(target, keys_that_repeat("Idempotency-Key: replayed"))
    again = exchange(target, keys_that_repeat("Idempotency-Key: replayed"))
    other = exchange(target, post("/v1/jobs", b'{"script": "other"}', JSON, "Idempotency-Key: replayed"))
    theirs = exchange(target, keys_that_repeat("Idempotency-Key: replayed").replace(b"Bearer {key}", b"Bearer {their_key}"))
    assert first[0].headers["location"] == again[0].headers["location"] != theirs[0].headers["location"]
    return statuses([*first, *again, *other, *theirs])


IDEMPOTENCY: dict[str, Attack] = {
    "a key of nothing": raw(keys_that_repeat("Idempotency-Key: "), (422,), "a key that everybody has"),
    "a key that is long": raw(keys_that_repeat(f"Idempotency-Key: {'x' * 256}"), (422,), "memory for a key"),
    "a key of other letters": raw(keys_that_repeat("Idempotency-Key: \u00e9"), (422,), "a key for each reader"),
    "a key of two words": raw(keys_that_repeat("Idempotency-Key: a b"), (422,), "a key for each reader"),
    "a key twice": raw(keys_that_repeat("Idempotency-Key: a", "Idempotency-Key: b"), (422,), "a key for each reader"),
    "a key that was used": Attack(tries="another's job, or two of one", ends=(202, 202, 422, 202), run=replayed),
}

MANY_RANGES = ",".join(f"{number}-{number}" for number in range(2000))
RESULT = "/v1/jobs/{job}/result"


def headers_of(target: Target, path: str, *headers: str) -> Answer:
    (answer,) = exchange(target, get(path, LAST, *headers, method="HEAD"))
    return answer


def files_are_served_plainly(target: Target) -> Ending:
    """Every name that a script made up, in every list and every header; none of them runs, breaks out, or leads elsewhere."""
    with target.client() as client:
        here = f"/v1/jobs/{target.names['job']}"
        found = [entry for role in ("figures", "artifacts") for entry in client.get(f"{here}/{role}").json()["items"]]
    # What leads elsewhere, or lies beyond the end, is not there.
    assert {entry["name"] for entry in found} & {*FILE_NAMES[-4:-1], "beyond"} == set()
    assert len(found) == 3 + 2 * (len(FILE_NAMES) - 3)
    seen = set()
    for entry in found:
        answers = exchange(target, get(entry["href"], LAST))
        if "\n" in entry["name"] and statuses(answers) == (404,):
            continue  # listed as it is called, and found at no address
        if statuses(answers) != (200,):
            return f"answered {statuses(answers)}"
        told = answers[0].headers
        plain = told["content-type"] in ("text/html", "image/png", "image/svg+xml", STREAM)
        shut_in = told["content-security-policy"] == "sandbox; default-src 'none'"
        kept = told["content-disposition"].startswith("attachment; ") or told["content-type"] == "image/png"
        facts = {"of a type that is none": not plain, "not shut in": not shut_in, "shown in place": not kept}
        seen |= {fact for fact, holds in facts.items() if holds}
    return ", ".join(sorted(seen)) or "served plainly"


STREAM = "application/octet-stream"


def request_ids(target: Target) -> Ending:
    """What comes back as X-Request-Id is the caller's only where it is plain."""
    given = ("plain-1", "two words", "x" * 65, "\u202e", "a;b", "<script>")
    told = [exchange(target, get("/healthz", LAST, f"X-Request-Id: {text}", key=False))[0].headers["x-request-id"] for text in given]
    same = [text.encode().decode("latin-1") == back for text, back in zip(given, told, strict=True)]
    return f"{sum(same)} of {len(given)} came back"


def at_rest(target: Target) -> Ending:
    """Whoever gets a copy of the home has everything in it but the keys."""
    secrets = [key.rpartition("_")[2].encode() for key in (target.key, target.other_key)]
    holding = [path.name for path in target.home.rglob("*") if path.is_file() and any(secret in path.read_bytes() for secret in secrets)]
    return "a key" if holding else "no key"


FIELDS: dict[str, Attack] = {
    **KEYS,
    **{f"idempotency: {name}": attack for name, attack in IDEMPOTENCY.items()},
    "two thousand ranges": asked("/v1/jobs/{job}/inputs/script", (200,), "the file as often", f"Range: bytes={MANY_RANGES}"),
    "ranges that overlap": asked("/v1/jobs/{job}/inputs/script", (200,), "the file twice", "Range: bytes=0-,0-"),
    "a range behind the end": asked("/v1/jobs/{job}/inputs/script", (416,), "what lies behind it", "Range: bytes=99999999-"),
    "a range of all numbers": asked("/v1/jobs/{job}/inputs/script", (200,), "a number without end", f"Range: bytes=0-{'9' * 500}"),
    "a range below nothing": asked("/v1/jobs/{job}/inputs/script", (200,), "what lies before it", "Range: bytes=--5"),
    "a range of nothing": asked("/v1/jobs/{job}/inputs/script", (416,), "a length below nothing", "Range: bytes=-0"),
    "a range that is backwards": asked("/v1/jobs/{job}/inputs/script", (200,), "a length below nothing", "Range: bytes=9-2"),
    "another unit": asked("/v1/jobs/{job}/inputs/script", (200,), "what nobody thought of", "Range: rows=1-2"),
    "thousands of types": asked(RESULT, (406,), "time for each of them", f"Accept: {','.join(['a/b;q=0.1'] * 2500)}"),
    "a quality beyond numbers": asked("/v1/jobs/{job}/log", (200,), "an order that is none", "Accept: text/plain;q=1e999"),
    "a type that climbs": asked(RESULT, (406,), "a file of the service's", "Accept: ../../etc/passwd"),
    "a wait without end": asked("/v1/jobs/{job}?wait=1e300", (200,), "a place for good; a final job is not waited for"),
    "a wait that is no number": asked("/v1/jobs/{queued}?wait=nan", (422,), "a wait without end"),
    "a wait below nothing": asked("/v1/jobs/{queued}?wait=-1", (422,), "a wait without end"),
    "an infinite wait": asked("/v1/jobs/{queued}?wait=inf", (422,), "a wait without end"),
    "two waits": asked("/v1/jobs/{queued}?wait=0&wait=60", (422,), "a wait for each reader"),
    "preferences that are none": asked("/v1/jobs", (200,), "time for each of them", f"Prefer: {'wait=,' * 4000}"),
    "an event from the future": asked(
        "/v1/jobs/{job}/log", (200,), "what lies behind the log", "Accept: text/event-stream", f"Last-Event-ID: {'9' * 19}-{'9' * 19}"
    ),
    "an event that is none": asked("/v1/jobs/{job}/log", (200,), "another's events", "Accept: text/event-stream", "Last-Event-ID: $ *"),
    "a cursor of one's own": asked("/v1/jobs?cursor=LTE", (422,), "a place before the first"),
    "a cursor that is no text": asked("/v1/jobs?cursor=%00%ff", (422,), "the store's own language"),
    "a cursor without end": asked(f"/v1/jobs?cursor={'A' * 20_000}", (422,), "a number without end"),
    "a page of everything": asked("/v1/jobs?limit=99999999", (422,), "memory for all that there is"),
    "a page of nothing": asked("/v1/jobs?limit=0", (422,), "a page that never ends"),
    "a thousand labels": asked(f"/v1/jobs?{'&'.join(['label=a:b'] * 1000)}", (422,), "a join for each of them"),
    "a label that is a statement": asked("/v1/jobs?label=a:'%20OR%201=1%20--", (200,), "the store's own language; it is data"),
    "a label that matches all": asked("/v1/jobs?label=a:%25", (200,), "every label that is like it; it is data"),
    "a thousand parameters": asked(f"/v1/jobs?{'&'.join(f'p{number}=1' for number in range(1000))}", (422,), "a sentence for each of them"),
    "a parameter that is another's": asked("/v1/jobs?tenant={their_tenant}", (422,), "what another has"),
    "a link of one's own": asked("/v1/jobs?label=a:b%0d%0aX-Injected:1", (422,), "a header that comes back"),
    "what a script called its files": Attack(
        tries="a header, a page that runs, a file elsewhere", ends="served plainly", run=files_are_served_plainly
    ),
    "a copy of the home": Attack(tries="the keys of all tenants", ends="no key", run=at_rest),
    "ids of requests": Attack(tries="letters of its own in a header and the log", ends="1 of 6 came back", run=request_ids),
    "traces of others": raw(
        get("/healthz", LAST, "traceparent: 00-\u202e", "tracestate: x", "baggage: a=b", key=False), (200,), "what is passed on unread"
    ),
    "another method by a header": asked(
        "/v1/jobs/{their_job}", (404,), "a deletion that proxies do not see", "X-HTTP-Method-Override: DELETE"
    ),
    "another path by a header": asked("/healthz", (200,), "a path that proxies do not see", "X-Original-URL: /v1/jobs/{their_job}"),
    "a page from elsewhere": asked("/v1/jobs", (200,), "an answer for another site's page", "Origin: https://evil.example"),
}
