"""A chunk: many items in one sandbox, each in a process and a directory of its own."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest

SCRIPT = """
import os, sys, time
import pandas as pd

def azureml_main(frame, other=None, *, n=0, do="", shared=None):
    print("item", n, flush=True)
    here = sorted(os.listdir(".")) + sorted(os.listdir("/dev/shm"))
    others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]
    scope = {"frame": frame, "other": other}
    exec(do, globals(), scope)
    frame, other = scope["frame"], scope["other"]
    frame["n"], frame["here"], frame["others"], frame["shared"] = n, ",".join(here), len(others), shared
    return (frame, other) if other is not None else frame
"""
CLEAN = ".\\\\Script Bundle,.config,Script Bundle,script.py,tmp".replace("\\\\", "\\")
LEAVES_THINGS = """
import subprocess
open('left.txt', 'w').write('x'); open('/dev/shm/left', 'w').write('x')
os.makedirs('a/b/c'); os.chmod('a/b', 0); os.mkdir('closed'); os.chmod('closed', 0); os.symlink('/etc', 'link')
deep = os.getcwd()
for _ in range(300):
    os.mkdir('d' * 200); os.chdir('d' * 200)
os.chdir('/job')
subprocess.Popen(['/bin/sh', '-c', 'trap "" TERM HUP; sleep 1000'], start_new_session=True)
for path in ('/out/result2.arrow', '/out/files.bin'):
    open(path, 'wb').write(b'left')
os.chmod('/job', 0o500)
"""


def arrow(value: int, rows: int = 3) -> bytes:
    batch = pa.record_batch({"a": pa.array([value] * rows)})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def run(sandbox, items: list[dict], *, tables=None, item_seconds=10, inputs=None, script=SCRIPT, **limits):
    """One chunk. `items`: parameters of each; their `tables` (format, content) lie in one pack."""
    tables = tables or [("arrow", arrow(number)) for number in range(len(items))]
    pack, listed = b"", []
    for number, (parameters, (form, content)) in enumerate(zip(items, tables, strict=True)):
        pack += bytes(-len(pack) % 64)
        window = {"format": form, "file": "pack", "offset": len(pack), "bytes": len(content)}
        listed.append({"number": number + 40, "inputs": {"dataset1": window}, "parameters": {"n": number, **parameters}})
        pack += content
    inputs = inputs or {}
    more = {"items": listed, "item_wall_seconds": item_seconds, "inputs": {port: {"format": form} for port, (form, _) in inputs.items()}}
    return sandbox.run(script, kind="chunk", inputs={"pack": ("", pack), **inputs}, parameters={"shared": "all"}, more=more, **limits)


def table(done, item: dict, port: str = "result") -> pa.Table:
    window = item[port]
    assert window["offset"] % 64 == 0
    content = (done.home / "out" / "result.arrow").read_bytes()[window["offset"] :][: window["bytes"]]
    return pa.ipc.open_file(content).read_all()


def log(done, item: dict) -> str:
    content = (done.home / "out" / "log").read_bytes()
    return content[item["log"]["offset"] :][: item["log"]["bytes"]].decode()


@pytest.fixture(scope="module")
def chunk(sandbox):
    """One chunk that answers most questions: good items, and between them those that fail in every way."""
    doings = [
        "", "raise ValueError('this one')", "", "time.sleep(60)", "", "os._exit(3)", "", "x = bytearray(3 * 2**30)", "", LEAVES_THINGS,
        "", "os.kill(os.getpid(), 9)", "", "print('y' * 5000)", "", "other = frame.copy()", "", "return_none = 1; sys.exit(4)", "",
    ]  # fmt: skip
    tables = [("arrow", arrow(number)) for number in range(len(doings))]
    tables[2] = ("csv", b"a\n2\n2\n2\n")
    tables[4] = ("arrow", b"ARROW1 is not all of it")
    done = run(sandbox, [{"do": do} for do in doings], tables=tables, item_seconds=5, log_bytes=40_000)
    assert (done.reason, done.exit_code) == ("ok", 0), done.report
    return done


def test_each_item_ends_in_its_own_way_and_none_of_them_hurts_another(chunk):
    items = chunk.report["items"]
    assert [item["number"] for item in items] == [40 + number for number in range(19)]
    reasons = [item["reason"] for item in items]
    odd = {1: "script_error", 3: "timed_out", 4: "bad_input", 5: "crashed", 7: "out_of_memory", 11: "crashed", 17: "crashed"}
    assert reasons == [odd.get(number, "ok") for number in range(19)]
    assert items[1]["error"]["type"] == "ValueError"
    assert items[1]["error"]["line"] > 1
    assert items[3]["message"].endswith("wall limit of 5 s (wall_seconds).")
    assert chunk.report["result"] is None


def test_the_next_item_finds_nothing_of_the_one_before(chunk):
    for number in (6, 8, 10, 12, 14):
        frame = table(chunk, chunk.report["items"][number]).to_pandas()
        assert set(frame["here"]) == {CLEAN}, number
        assert set(frame["others"]) == {0}
    assert (chunk.home / "out" / "files.bin").stat().st_size == 0
    assert (chunk.home / "out" / "result2.arrow").stat().st_size == 0


def test_every_item_gets_its_own_table_and_what_all_share(chunk):
    items = chunk.report["items"]
    for number in (0, 2, 8, 10, 18):
        frame = table(chunk, items[number]).to_pandas()
        assert (set(frame["a"]), set(frame["n"]), set(frame["shared"])) == ({number}, {number}, {"all"})
        assert items[number]["result"]["rows"] == 3
    assert items[1]["result"] is None


def test_a_second_table_is_kept_beside_the_first(chunk):
    item = chunk.report["items"][15]
    assert table(chunk, item, "result2").column_names == ["a"]
    assert item["result2"]["offset"] >= item["result"]["offset"] + item["result"]["bytes"]


def test_every_item_has_a_log_of_its_own_with_its_traceback(chunk):
    items = chunk.report["items"]
    assert log(chunk, items[0]) == "item 0\n"
    assert log(chunk, items[1]).startswith("item 1\nTraceback")
    assert log(chunk, items[2]) == "item 2\n"
    assert items[13]["log"]["truncated"]
    assert items[13]["log"]["bytes"] <= 40_000 // 19
    assert log(chunk, items[14]) == "item 14\n"


def test_items_that_are_not_reached_in_the_chunks_time_are_told_so(sandbox):
    done = run(sandbox, [{"do": "time.sleep(0.7)"}] * 6, item_seconds=60, wall_seconds=2)
    items = done.report["items"]
    reasons = [item["reason"] for item in items]
    good = reasons.count("ok")
    assert 1 <= good <= 2
    assert reasons == ["ok"] * good + ["timed_out"] * (6 - good)
    assert "the item was done" in items[good]["message"]
    assert items[5]["message"] == "The item was not reached: the time of its chunk of 6 items, 2 s, was over before."
    assert done.exit_code == 0


def test_results_that_are_together_too_large_fail_the_item_that_does_not_fit(sandbox):
    big = {"do": "import numpy; frame = pd.DataFrame({'x': numpy.arange(4_000)})"}
    done = run(sandbox, [big, big, {}], output_bytes=400_000)
    assert [item["reason"] for item in done.report["items"]] == ["ok", "output_too_large", "ok"]
    assert "output_bytes" in done.report["items"][1]["message"]


def test_a_good_word_without_a_table_is_a_crash_and_its_bytes_are_cut_off(sandbox):
    forged = """
import json
word = {'reason': 'ok', 'result': {'rows': 1, 'columns': [], 'offset': 0, 'bytes': 1024}}
open('/out/result.arrow', 'r+b').write(b'rubbish' * 999)
for descriptor in range(3, 64):
    try:
        os.write(descriptor, json.dumps(word).encode() + b'\\n')
    except OSError:
        pass
os._exit(0)
"""
    done = run(sandbox, [{"do": forged}, {}])
    assert [item["reason"] for item in done.report["items"]] == ["crashed", "ok"]
    assert set(table(done, done.report["items"][1]).to_pandas()["a"]) == {1}


def test_libraries_with_threads_work_in_every_item(sandbox):
    """Whoever forks after such threads have run has children that hang."""
    busy = """
import numpy, pyarrow.compute, pyarrow.csv, io
from concurrent.futures import ThreadPoolExecutor
numpy.ones((600, 600)) @ numpy.ones((600, 600))
pyarrow.csv.read_csv(io.BytesIO(b"a,b\\n" + b"1,2\\n" * 200_000))
frame.groupby("a").sum()
assert list(ThreadPoolExecutor(4).map(str, range(9)))[8] == "8"
from sklearn.cluster import KMeans
KMeans(2, n_init=1).fit(numpy.random.rand(2_000, 3))
"""
    done = run(sandbox, [{"do": busy}] * 3, item_seconds=30, cpus=2.0)
    assert [item["reason"] for item in done.report["items"]] == ["ok"] * 3, done.log


def test_many_failing_items_fit_into_the_report(sandbox):
    long = "raise ValueError('\\u00e9' * 100_000)"
    done = run(sandbox, [{"do": long}] * 60)
    assert {item["reason"] for item in done.report["items"]} == {"script_error"}
    assert done.report["items"][59]["message"].startswith("ValueError: é")


def test_what_is_loaded_before_the_first_item_is_never_counted(sandbox):
    """Or every item would copy the pages of all that it only looks at."""
    script = """
import pandas, sys

def azureml_main(frame, *, n=0, shared=None):
    before = sys.getrefcount(pandas.DataFrame.merge.__code__)
    held = [pandas.DataFrame.merge.__code__] * 10
    frame["grown"] = sys.getrefcount(pandas.DataFrame.merge.__code__) - before
    frame["own"] = sys.getrefcount(frame) < 100
    return frame
"""
    done = run(sandbox, [{}], script=script)
    found = table(done, done.report["items"][0]).to_pandas()
    assert set(found["grown"]) == {0}
    assert found["own"].all()


def test_a_report_that_is_longer_than_a_pipe_holds_arrives_whole(sandbox):
    """Nobody listens to an item at first, so it waits a moment to be heard."""
    script = "def azureml_main(frame, *, n=0, shared=None):\n    raise ValueError('é' * 200_000)\n"
    done = run(sandbox, [{}], script=script)
    assert [(item["reason"], item["message"][:20]) for item in done.report["items"]] == [("script_error", "ValueError: " + "é" * 8)]
