"""Bytes that were cut, flipped, or are another format's: hundreds of them as the items of one chunk, each in a process of its own."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from fumehood.outcome import Reason
from tests.contract.samples import arrow, arrow_stream
from tests.hostile.corpus import Ground
from tests.hostile.making import Made, parquet
from tests.hostile.runner import runner_with
from tests.sandboxes import SMALL
from worker import isolation
from worker.collect import collect
from worker.sandbox import StopSignal
from worker.scratch import Scratch
from worker.verdict import judge

SEEDS, CUTS, BETWEEN = 24, 12, 8
COUNT = "import pandas\ndef azureml_main(frame):\n    return pandas.DataFrame({'rows': [len(frame)]})\n"
LIMITS = replace(SMALL, wall_seconds=60.0, processes=128, cpus=2.0)
TABLE = pa.table(
    {
        "n": list(range(300)),
        "t": [f"text {number}" for number in range(300)],
        "d": pa.array(["a", "b", None] * 100).dictionary_encode(),
        "l": [[number] * (number % 3) for number in range(300)],
        "m": pa.array(range(300), pa.timestamp("us", "UTC")),
    }
)
RECORDS = [{"n": number, "t": f"text {number}", "l": [number]} for number in range(100)]
GOOD: dict[str, bytes] = {
    "arrow": arrow(TABLE)[1],
    "arrow-stream": arrow_stream(TABLE)[1],
    "parquet": parquet(TABLE, compression="zstd")[1],
    "csv": b"n,t\n" + b"".join(b'%d,"text %d"\n' % (number, number) for number in range(300)),
    "json": json.dumps(RECORDS).encode(),
    "ndjson": b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS),
}
# What a table of bad bytes may end as. A crash is no shame, but none is known.
TENANTS = {"ok", "bad_input", "out_of_memory", "timed_out", "output_too_large"}


def damaged(form: str) -> list[Made]:
    """The same bytes every time."""
    chance, content = random.Random(form), GOOD[form]
    made = [content[: len(content) * part // CUTS] for part in range(CUTS)]
    for _ in range(SEEDS):
        bad = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8, 64))):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        made.append(bytes(bad))
    # A few places get the numbers at which readers go wrong.
    for number in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0"):
        for _ in range(4):
            place = chance.randrange(len(content) - 4)
            made.append(content[:place] + number + content[place + 4 :])
    made += [content + content, content[::-1], bytes(len(content)), b"\xff" * len(content)]
    made += [other for name, other in GOOD.items() if name != form]
    return [(form, each) for each in made]


def run_chunk(ground: Ground, script: str, items: list[Made]) -> list[dict[str, Any]]:
    """How each item ended."""
    scratch = Scratch.create(ground.home, worker=ground.host.worker_id)
    try:
        asked, pack = [], bytearray()
        for number, (form, content) in enumerate(items):
            window = {"format": form, "file": "items0", "offset": len(pack), "bytes": len(content)}
            asked.append({"number": number, "inputs": {"dataset1": window}, "parameters": {}})
            pack += content
        request = {"version": 1, "kind": "chunk", "inputs": {}, "parameters": {}, "limits": LIMITS.as_dict()}
        request |= {"items": asked, "item_wall_seconds": 5.0}
        for name, data in (("script.py", script.encode()), ("request.json", json.dumps(request).encode()), ("items0", bytes(pack))):
            (scratch.inside / name).write_bytes(data)
            (scratch.inside / name).chmod(0o444)
        with ground.host.prepare(scratch, LIMITS) as sandbox:
            exit = sandbox.run(LIMITS, stop=StopSignal(), on_log=lambda count: None)
        report = collect(scratch, LIMITS, items=range(len(items)))
        assert judge(exit, report).reason is Reason.OK, (exit, report.problem, report.message)
        return list(report.items)
    finally:
        scratch.erase()


@pytest.mark.parametrize("form", GOOD)
def test_an_item_of_bad_bytes_hurts_no_other(form: str, ground: Ground) -> None:
    bad = damaged(form)
    # Good ones between them, so that what one breaks in the machinery would show in the next.
    items = [each for at in range(0, len(bad), BETWEEN) for each in (*bad[at : at + BETWEEN], (form, GOOD[form]))]
    ended = run_chunk(ground, COUNT, items)
    good = [each["reason"] for each, (_, content) in zip(ended, items, strict=True) if content == GOOD[form]]
    assert set(good) == {"ok"}
    strange = [(number, each["reason"], each["message"]) for number, each in enumerate(ended) if each["reason"] not in TENANTS]
    assert strange == []
    reasons = Counter(each["reason"] for each in ended)
    assert reasons["bad_input"] > len(bad) // 4, reasons


LEAVE = """
import os, pandas
def azureml_main(frame):
    found = [name for place in ("/job", "/dev/shm", "/job/tmp") for name in os.listdir(place) if "left" in name]
    assert not found, found
    for place in ("/job", "/dev/shm", "/job/tmp"):
        os.makedirs(place + "/left/deep")
        open(place + "/left/deep/behind", "w").close()
        os.chmod(place + "/left", 0)
    return pandas.DataFrame({"a": [1]})
"""


@pytest.mark.parametrize("sweeps", [True, False])
def test_without_sweeping_an_item_finds_what_another_left(sweeps: bool, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    original, ours = isolation.container, threading.current_thread()

    def changed(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        config, host_config = original(**values)
        if threading.current_thread() is ours and not sweeps:
            config = config | {
                "Entrypoint": runner_with("from _fumehood_runner import batch; batch.sweeping.empty = lambda directory: None")
            }
        return config, host_config

    monkeypatch.setattr(isolation, "container", changed)
    ended = run_chunk(ground, LEAVE, [("csv", GOOD["csv"])] * 3)
    assert [each["reason"] == "ok" for each in ended] == [True, sweeps, sweeps], ended
