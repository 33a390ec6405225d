"""Attacks in what is said: JSON, and the parts of a form."""

from __future__ import annotations

import json
from typing import Any

from fumehood.limits import KIB, MIB
from tests.hostile.desk.framing import JSON
from tests.hostile.desk.target import Target
from tests.hostile.desk.wire import Attack, Ending, exchange, post, raw, statuses
from tests.unit.front_desk import SCRIPT

GOOD = json.dumps({"script": SCRIPT})


def job(body: bytes | str, ends: Ending, tries: str, *, path: str = "/v1/jobs") -> Attack:
    return raw(post(path, body.encode("utf-8") if isinstance(body, str) else body, JSON), ends, tries)


def said(ends: Ending, tries: str, **fields: Any) -> Attack:
    return job(json.dumps({"script": SCRIPT, **fields}), ends, tries)


def batch(ends: Ending, tries: str, **fields: Any) -> Attack:
    return job(json.dumps({"script": SCRIPT, **fields}), ends, tries, path="/v1/batches")


def taken_or_refused(tries: str, script: str) -> Attack:
    """Which of the two is the parser's own limit, and versions of it differ."""
    request = post("/v1/jobs", json.dumps({"script": f"{SCRIPT}\nx = {script}\n"}).encode(), JSON)

    def run(target: Target) -> Ending:
        found = statuses(exchange(target, request))
        return "taken or refused" if found in ((202,), (422,)) else found

    return Attack(tries=tries, ends="taken or refused", run=run)


MANY = {f"{number:x}": 0 for number in range(60_000)}

DOCUMENTS: dict[str, Attack] = {
    "a document that is long": job(b'{"script": "' + b"x" * MIB + b'"}', (413,), "memory for a document"),
    "a script that is long": said((422,), "memory for a script", script=SCRIPT + "#" * (64 * KIB)),
    "arrays in arrays": job(b"[" * 500_000, (400,), "the stack of the parser"),
    "objects in objects": job(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, (400,), "the stack of the parser"),
    "a little too deep": said((400,), "the stack of whoever reads it later", parameters={"a": json.loads("[" * 40 + "]" * 40)}),
    "nothing, half a million times": job(b'{"a":[' + b"{}," * 340_000 + b"0]}", (400,), "a hundred bytes for each of three"),
    "a quote that never ends": job(b'{"a":"' + b'\\"' * 500_000, (400,), "time for each quotation mark"),
    "quotes that never end": job(b'{"a":' + b'"\\' * 500_000, (400,), "time for each quotation mark"),
    "a number without end": job(b'{"script":"", "parameters":{"a":' + b"9" * 5000 + b"}}", (400,), "time that grows with its square"),
    "a number beyond numbers": job(b'{"parameters":{"a":1e999}}', (400,), "an infinity"),
    "not a number": job(b'{"parameters":{"a":NaN}}', (400,), "what is no JSON"),
    "an infinity": job(b'{"limits":{"wall_seconds":Infinity}}', (400,), "a run without an end"),
    "a limit that is a word": said((422,), "a run without an end", limits={"wall_seconds": "forever"}),
    "a limit that is true": said((422,), "a limit of another type", limits={"cpus": True}),
    "a limit above the ceiling": said((422,), "more than there is", limits={"memory_bytes": 2**62}),
    "a limit below nothing": said((422,), "less than nothing", limits={"wall_seconds": -1}),
    "a name that stands twice": job(f"{GOOD[:-1]}, {GOOD[1:]}", (400,), "a script for each reader"),
    "a deep name that stands twice": job(b'{"parameters":{"a":1,"a":2}}', (400,), "a value for each reader"),
    "half a surrogate pair": job(b'{"script":"\\ud800"}', (400,), "a character that no encoding takes"),
    "half a pair in a name": job(b'{"parameters":{"\\udfff":1}}', (400,), "a character that no encoding takes"),
    "overlong UTF-8": job(b'{"script":"\xc0\xaf"}', (400,), "a slash that filters do not see"),
    "surrogates in UTF-8": job(b'{"script":"\xed\xa0\x80"}', (400,), "a character that no encoding takes"),
    "UTF-16": job(GOOD.encode("utf-16"), (400,), "what filters do not read"),
    "a byte order mark": job(b"\xef\xbb\xbf" + GOOD.encode(), (400,), "what filters do not read"),
    "another charset": raw(post("/v1/jobs", GOOD.encode(), "application/json; charset=utf-7"), (415,), "what filters do not read"),
    "NUL in the script": said((422,), "a string that ends early", script=SCRIPT + "\0"),
    "NUL in a label": said((422,), "a string that ends early", labels={"a": "b\0c"}),
    "NUL in a label's name": said((422,), "a string that ends early", labels={"a\0": "b"}),
    "a line's end in a label": said((422,), "a second line in a log", labels={"a": "b\r\nc"}),
    "another line's end in a label": said((422,), "a second line in a log", labels={"a": "b\u2028c"}),
    "a label's name from elsewhere": said((422,), "a name that looks like another", labels={"\u0440\u0430ss": "b"}),
    "writing that turns round": said((202,), "a name that reads the other way; it is data", labels={"a": "\u202egnp"}),
    "two spellings of a letter": said((202,), "a name that is another's; it is data", labels={"a": "e\u0301", "b": "\u00e9"}),
    "NUL in a parameter": said((202,), "a string that ends early; it is data", parameters={"a": "\0"}),
    "parameters that are long": said((422,), "memory for each run", parameters={"a": "x" * (64 * KIB)}),
    "a parameter that is a word of Python": said((422,), "a call that is another", parameters={"class": 1}),
    "a parameter that looks like another": said((202,), "a name that Python takes for another's; it is data", parameters={"\uff41": 1}),
    "many wrong labels": said((422,), "a sentence for each of them", labels=MANY),
    "many wrong limits": said((422,), "a sentence for each of them", limits=MANY),
    "many wrong parameters": said((422,), "a sentence for each of them", parameters=MANY),
    "many wrong fields": job(json.dumps(MANY), (422,), "a sentence for each of them"),
    "many wrong fields of an output": said((422,), "a sentence for each of them", dataset1=MANY),
    "many wrong items": batch((422,), "a sentence for each of them", items=[{"a": 1, "b": 2, "c": 3}] * 9000),
    "items that are none": batch((422,), "a sentence for each of them", items=[0] * 10_000),
    "more items than there may be": batch((422,), "a row for each of them", items=[{}] * 10_001),
    "a dataset that is a path": said((422,), "a file of the service's", dataset1="../../secrets/bootstrap_key"),
    "a dataset of another": said((422,), "a table of another's", dataset1="{their_dataset}"),
    "a bundle of another": said((422,), "a zip of another's", bundle="{their_dataset}"),
    "an output of another": said((422,), "a result of another's", dataset1={"job": "{their_job}", "output": "result"}),
    "an output that is none": said((422,), "a file of the service's", dataset1={"job": "{job}", "output": "../log"}),
    "an item of another": batch((422,), "a table of another's", items=[{"dataset1": "{their_dataset}"}]),
    "a field that decides": said((422,), "somebody else's work", tenant="{their_tenant}"),
    "an id of one's own choice": said((422,), "the place of another's", id="{their_job}"),
    "parameters that all share": batch(
        (422,), "gigabytes of rows from a small request", parameters={"a": "x" * 60_000}, items=[{} for _ in range(600)]
    ),
    "no document": job(b"", (400,), "what nobody thought of"),
    "a list": job(b"[]", (400,), "what nobody thought of"),
    "a word": job(b'"script"', (400,), "what nobody thought of"),
    "garbage": job(bytes(range(256)), (400,), "what nobody thought of"),
    "a script that takes long to read": taken_or_refused("the parser's time, which is not ours", "-" * 60_000 + "1"),
    "a script that is deep": taken_or_refused("the parser's stack, which is not ours", "(" * 30_000),
    "a script without end to its levels": taken_or_refused("the compiler's memory, which is not ours", "a" + ".a" * 30_000),
}

EDGE = "edge"
FORM = f"multipart/form-data; boundary={EDGE}"


def part(name: str, content: bytes, file_name: str | None = None, media_type: str | None = None, *more: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file_name}"' if file_name is not None else "")
    lines = [f"--{EDGE}", disposition, *([f"Content-Type: {media_type}"] if media_type else []), *more, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + content + b"\r\n"


END = f"--{EDGE}--\r\n".encode()
THE_SCRIPT = part("script", SCRIPT.encode(), "script.py")


def form(content: bytes, ends: Ending, tries: str, *, path: str = "/v1/jobs", media_type: str = FORM) -> Attack:
    return raw(post(path, content, media_type), ends, tries)


def table(file_name: str, ends: Ending, tries: str) -> Attack:
    return form(THE_SCRIPT + part("dataset1", b"a\n1\n", file_name, "text/csv") + END, ends, tries)


FORMS: dict[str, Attack] = {
    "a name that climbs": table("../../../../etc/cron.d/x", (202,), "a file beside the others; the name is never a path"),
    "a name from the root": table("/etc/passwd", (202,), "a file of the machine's; the name is never a path"),
    "a name of another system": table("..\\..\\x", (202,), "a file beside the others; the name is never a path"),
    "a name with NUL": table("a\0.csv", (422,), "a string that ends early"),
    "a name with a line's end": table("a%0d%0aX-Injected: 1", (202,), "a header of its own; the name comes back nowhere"),
    "a name that is no text": form(
        THE_SCRIPT + part("dataset1", b"a\n", "\udcff\udcfe.csv", "text/csv") + END, (422,), "what no encoding takes"
    ),
    "a name without end": table("x" * 5000, (400,), "memory for a name"),
    "a part that is long": form(part("script", b"#" * (64 * KIB + 1)) + END, (413,), "memory for a script"),
    "a document that is long": form(part("job", b" " * (MIB + 1)) + END, (413,), "memory for a document"),
    "a table that is long": form(THE_SCRIPT + part("dataset1", bytes(MIB + 1), "a.csv") + END, (413,), "more disk than there may be"),
    "a bundle that is long": form(THE_SCRIPT + part("bundle", bytes(256 * KIB + 1), "a.zip") + END, (413,), "more disk than there may be"),
    "a part that stands twice": form(THE_SCRIPT * 2 + END, (422,), "a script for each reader"),
    "a part that nobody knows": form(part("tenant", b"{their_tenant}") + END, (422,), "somebody else's work"),
    "many parts": form(part("x", b"") * 5000 + END, (422,), "time for each of them"),
    "many empty items": form(THE_SCRIPT + part("item", b"", "a.csv") * 10_001 + END, (422,), "a row for each", path="/v1/batches"),
    "many headers in a part": form(
        part("script", SCRIPT.encode(), None, None, *(f"X{number}: 1" for number in range(9))) + END, (400,), "time"
    ),
    "a header that is long": form(part("script", SCRIPT.encode(), None, None, f"X: {'x' * 5000}") + END, (400,), "memory for a header"),
    "no end": form(THE_SCRIPT, (400,), "half of a form"),
    "no beginning": form(b"x" * 200_000, (400,), "memory for what stands before it"),
    "a preamble": form(b"\r\n" * 100_000 + THE_SCRIPT + END, (202,), "time for what stands before it; nothing is made of it"),
    "almost the boundary": form(THE_SCRIPT[:-2] + b"\r\n--edg" * 9000 + b"\r\n" + END, (202,), "time for each that is none; it is data"),
    "carriage returns": form(part("script", b"\r" * 60_000) + END, (422,), "time for each of them"),
    "no boundary": form(THE_SCRIPT + END, (400,), "what nobody thought of", media_type="multipart/form-data"),
    "a boundary without end": form(THE_SCRIPT + END, (400,), "time", media_type=f"multipart/form-data; boundary={'x' * 5000}"),
    "an encoding of its own": form(
        part("script", b"eA==", None, None, "Content-Transfer-Encoding: base64") + END,
        (422,),
        "what filters do not read; it is not decoded",
    ),
    "a form in a form": form(part("job", b"{}", None, "multipart/mixed; boundary=x") + END, (422,), "what nobody thought of"),
    "another kind of form": form(b"script=x", (415,), "what nobody thought of", media_type="application/x-www-form-urlencoded"),
    "a picture that is a form": form(THE_SCRIPT + END, (415,), "what nobody thought of", media_type="image/png"),
    "an upload that is long": raw(post("/v1/datasets", bytes(MIB + 1), "text/csv"), (413,), "more disk than there may be"),
    "an upload of nothing": raw(post("/v1/datasets", b"", "text/csv"), (422,), "what nobody thought of"),
    "an upload named by a path": raw(post("/v1/datasets?name=..%2f..%2fx.csv", b"a,b\n", "text/csv"), (201,), "a file beside the others"),
    "an upload named by control characters": raw(post("/v1/datasets?name=a%0d%0aX-Injected:1", b"a", "text/csv"), (422,), "a header"),
    "an upload named without end": raw(post(f"/v1/datasets?name={'x' * 256}", b"a", "text/csv"), (422,), "memory for a name"),
    "an upload named by half a pair": raw(post("/v1/datasets?name=%ed%a0%80", b"a", "text/csv"), (422,), "what no encoding takes"),
    "an upload of a kind that nobody knows": raw(post("/v1/datasets", b"a", "text/html"), (415,), "a page among the tables"),
}
