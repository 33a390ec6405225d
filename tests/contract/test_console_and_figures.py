"""Rules 17–19 and the edge cases «Log» and «Figures»."""

from __future__ import annotations

import struct

from tests.contract.samples import bundle

OK = "\ndef azureml_main(df=None):\n    import pandas\n    return pandas.DataFrame({'a': [1]})\n"
PNG = "b'\\x89PNG\\r\\n\\x1a\\n'"


def test_the_log_is_one_stream_in_exact_order(sandbox):
    script = """
import os, subprocess, sys
print("one", end=" ")
sys.stderr.write("two ")
os.write(1, b"three ")
subprocess.run(["sh", "-c", "printf 'four '; printf 'five ' >&2"])
subprocess.run([sys.executable, "-c", "print('six', end=' ')"])
sys.__stdout__.write("seven ")
os.write(2, b"\\xff\\n")
import talker
"""
    run = sandbox.run(script + OK, inputs={"bundle": bundle({"talker.py": "print('from the bundle')\n"})})
    assert run.log == "one two three four five six seven \ufffd\nfrom the bundle\n"
    assert run.report["log"] == {"bytes": (run.home / "out" / "log").stat().st_size, "truncated": False}


def test_the_log_can_be_read_while_the_job_runs(sandbox):
    script = "import time\nfor n in range(3):\n    print('line', n)\n    time.sleep(0.3)\n" + OK
    run = sandbox.run(script)
    told = [(event["bytes"], event["at"]) for event in run.events if event["event"] == "log"]
    assert told[-1][0] == 21
    assert told == sorted(told)
    assert told[-1][1] - told[0][1] > 0.5


def test_a_flood_is_cut_in_the_middle_and_the_job_goes_on(sandbox):
    script = "import sys\nprint('begin')\nfor n in range(30):\n    sys.stdout.write('x' * 99_999 + '\\n')\nprint('end')\n" + OK
    run = sandbox.run(script, log_bytes=100_000)
    assert run.reason == "ok"
    assert run.report["log"] == {"bytes": len(run.log), "truncated": True}
    assert 99_000 < len(run.log) <= 100_000
    assert run.log.startswith("begin\nxxx")
    assert run.log.endswith("xxx\nend\n")
    assert "bytes of the log left out here; its limit is 100000 bytes]" in run.log


def test_log_events_come_at_most_ten_times_a_second(sandbox):
    script = "import time\nfor n in range(1000):\n    print(n)\n    time.sleep(0.001)\n" + OK
    run = sandbox.run(script)
    seconds = run.report["milliseconds"]["script"] / 1000
    assert 2 <= len([event for event in run.events if event["event"] == "log"]) <= seconds * 10 + 2


def test_a_failure_leaves_its_traceback_at_the_end_of_the_log(sandbox):
    run = sandbox.run("def azureml_main(df=None):\n    print('x' * 100_000, end='')\n    raise KeyError('gone')\n", log_bytes=8_000)
    assert run.log.endswith("KeyError: 'gone'\n")
    assert 'File "script.py", line 3, in azureml_main' in run.log
    assert run.report["log"]["truncated"]


def test_matplotlib_draws_with_agg_whatever_the_script_asks_for(sandbox):
    script = """
import warnings
warnings.simplefilter("error")
import io, matplotlib, os
# The image's ready-made font list: making one takes a second.
assert any(name.startswith("fontlist") for name in os.listdir(os.environ["MPLCONFIGDIR"]))
matplotlib.use("TkAgg")
import matplotlib.pyplot as plt
matplotlib.use("GTK4Agg")
plt.switch_backend("QtAgg")
def azureml_main(df=None):
    import pandas
    plt.plot([1, 2])
    plt.show()
    assert matplotlib.get_backend().lower() == "agg", matplotlib.get_backend()
    saved, axes = plt.subplots()
    saved.savefig("saved by the script.png")
    plt.figure().savefig(io.BytesIO())
    try: plt.figure("not saved").savefig("/nowhere/x.png")
    except OSError: pass
    plt.close(plt.figure())
    return pandas.DataFrame({"n": plt.get_fignums()})
"""
    run = sandbox.run(script)
    assert run.reason == "ok", run.report
    assert run.names("figure") == ["saved by the script.png", "Figure 1.png", "Figure 4.png"]
    assert run.file("Figure 1.png").startswith(b"\x89PNG\r\n\x1a\n")
    assert run.log == ""


def test_an_open_figure_is_saved_with_its_long_labels_and_without_what_lies_far_away(sandbox):
    script = """
import matplotlib.pyplot as plt, pandas
def azureml_main():
    plt.figure(figsize=(4, 3), dpi=100)
    plt.bar(["a label " * 5], [1])
    plt.xticks(rotation=90)
    plt.figure(figsize=(4, 3), dpi=100)
    plt.text(1e4, 0.5, "far away")
    return pandas.DataFrame({"n": [1]})
"""
    run = sandbox.run(script)
    assert run.notes("warning") == []
    labelled, plain = (struct.unpack(">II", run.file(f"Figure {number}.png")[16:24]) for number in (1, 2))
    assert 400 < labelled[1] < 900
    assert plain == (400, 300)


def test_figures_come_in_the_order_of_their_last_write_and_only_real_ones(sandbox):
    script = f"""
import os, time
def put(name, data, moment):
    with open(name, "wb") as file: file.write(data)
    os.utime(name, ns=(moment, moment))
put("b.png", {PNG} + b"b", 3)
put("a.PNG", {PNG} + b"a", 3)
put("last.html", b"<p>", 9)
put("first one.svg", b"<svg/>", 1)
put("fake.png", b"GIF", 2)
put("table.csv", b"a", 2)
os.mkdir("sub.png"); put("sub.png/inner.png", {PNG}, 1)
os.symlink("/in/script.py", "link.svg"); os.mkfifo("pipe.png")
"""
    run = sandbox.run(script + OK)
    assert run.names("figure") == ["first one.svg", "a.PNG", "b.png", "last.html"]
    assert run.file("a.PNG") == b"\x89PNG\r\n\x1a\na"
    assert [entry["media_type"] for entry in run.report["files"]] == ["image/svg+xml", "image/png", "image/png", "text/html"]
    assert run.notes("figure_ignored") == ["fake.png is called PNG but is not one."]


def test_more_figures_than_the_limit_are_capped_with_a_note(sandbox):
    script = f"for n in range(7):\n    open(f'{{n}}.png', 'wb').write({PNG})\n" + OK
    run = sandbox.run(script, figures=5)
    assert run.names("figure") == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert len(run.notes("figures_capped")) == 1


def test_files_below_outputs_come_back_and_nothing_else_does(sandbox):
    script = """
import os
os.makedirs("outputs/deep/er")
open("outputs/model.pkl", "wb").write(b"\\x80\\x04")
open("outputs/deep/er/a.json", "w").write("{}")
open("outputs/plot.png", "wb").write(b"not checked")
open("not an output.txt", "w").write("x")
os.symlink("/in/request.json", "outputs/link")
os.symlink("/in", "outputs/directory link")
os.mkfifo("outputs/pipe")
for name in ("sparse 1", "sparse 2"): open("outputs/" + name, "wb").truncate(200 * 1024 * 1024)
here = os.open("outputs", os.O_RDONLY)
for _ in range(200):
    os.mkdir("d", dir_fd=here); here = os.open("d", os.O_RDONLY, dir_fd=here)
open(b"outputs/\\xff.bin", "wb").write(b"1")
for n in range(1200): open(f"outputs/zz{n:04}", "w").close()
"""
    run = sandbox.run(script + OK)
    assert run.reason == "ok", run.report
    names = run.names("artifact")
    assert names[:3] == ["model.pkl", "plot.png", "sparse 1"]
    assert names[3] == "zz0000"  # Both sparse files together claim more than the disk holds.
    assert "deep/er/a.json" not in names  # Files of a directory come before its sub-directories; the cap was reached.
    assert len(names) == 1000
    assert run.names("figure") == []
    assert len(run.notes("files_incomplete")) >= 1
    small = sandbox.run("import os\nos.makedirs('outputs/deep/er')\nopen('outputs/deep/er/a.json', 'w').write('{}')\n" + OK)
    assert small.report["files"] == [
        {"role": "artifact", "name": "deep/er/a.json", "media_type": "application/json", "offset": 0, "bytes": 2}
    ]


def test_failed_and_timed_out_jobs_keep_log_figures_and_artifacts(sandbox):
    script = f"""
import os, time
print("said")
os.mkdir("outputs"); open("outputs/kept.txt", "w").write("kept")
open("kept.png", "wb").write({PNG})
def azureml_main(df=None):
    """
    failed = sandbox.run(script + "raise ValueError('no')\n")
    timed_out = sandbox.run(script + "time.sleep(60)\n", wall_seconds=1)
    for run, reason in ((failed, "script_error"), (timed_out, "timed_out")):
        assert run.reason == reason
        assert (run.names("figure"), run.names("artifact")) == (["kept.png"], ["kept.txt"])
        assert run.file("kept.txt") == b"kept"
        assert run.log.startswith("said\n")
