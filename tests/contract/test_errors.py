"""Rules 20–21 and the edge case «Endings»."""

from __future__ import annotations

import pytest

from tests.contract.samples import IDENTITY, bundle

MEBI = 1024 * 1024
OK = "\ndef azureml_main(df=None):\n    import pandas\n    return pandas.DataFrame({'a': [1]})\n"


def test_a_failure_carries_type_message_traceback_line_and_source(sandbox):
    script = "def inner(df):\n    return int('a')\n\ndef azureml_main(df=None):\n    return inner(df)\n"
    run = sandbox.run(script)
    error = run.report["error"]
    assert (run.reason, run.report["message"]) == (
        "script_error", "ValueError: invalid literal for int() with base 10: 'a' (line 2 of script.py)",
    )  # fmt: skip
    assert (error["type"], error["message"]) == ("ValueError", "invalid literal for int() with base 10: 'a'")
    assert (error["file"], error["line"], error["source"]) == ("script.py", 2, "    return int('a')")
    assert [(frame["function"], frame["line"]) for frame in error["frames"]] == [("azureml_main", 5), ("inner", 2)]
    assert error["traceback"].startswith('Traceback (most recent call last):\n  File "script.py", line 5, in azureml_main\n')
    assert "fumehood" not in error["traceback"]
    assert run.report["child"] == {"exit_code": 1, "signal": None}
    assert run.report["result"] is None


HOSTILE_EXCEPTIONS = {
    "str is endless": "class E(Exception):\n    def __str__(self): return 'x' * 300_000_000\nraise E",
    "group": "raise ExceptionGroup('g' * 9999, [ExceptionGroup('h', [ValueError(str(n)) for n in range(500)]) for _ in range(50)])",
    "deep": "import sys\nsys.setrecursionlimit(50_000)\ndef f(n): return f(n + 1)\nf(0)",
    "long line": f"x = '{'y' * 200_000}'; raise ValueError",
}


@pytest.mark.parametrize("name", list(HOSTILE_EXCEPTIONS))
def test_a_hostile_exception_cannot_break_the_report(sandbox, name):
    run = sandbox.run(HOSTILE_EXCEPTIONS[name])
    assert run.reason == "script_error", run.report
    assert run.report["error"]["line"] is not None
    assert len(run.report["error"]["traceback"]) <= 64 * 1024
    assert len(run.report["message"]) <= 4 * 1024


@pytest.mark.parametrize(("code", "exit_code", "said"), [("sys.exit()", 0, " (line 3 of script.py)"), ("os._exit(7)", 7, "")])
def test_ending_oneself_is_crashed_with_the_code(sandbox, code, exit_code, said):
    # Other codes, and texts, are in tests/unit/test_runner_report.py.
    run = sandbox.run(f"import os, sys\ndef azureml_main(df=None):\n    {code}\n")
    assert (run.reason, run.report["child"]) == ("crashed", {"exit_code": exit_code, "signal": None})
    assert f"with exit code {exit_code}{said} before azureml_main returned." in run.report["message"]


def test_a_signal_is_crashed_with_its_number(sandbox):
    run = sandbox.run("import ctypes\ndef azureml_main(df=None):\n    ctypes.string_at(0)\n")
    assert (run.reason, run.report["child"]) == ("crashed", {"exit_code": None, "signal": 11})
    assert run.report["message"] == "The script was ended by SIGSEGV."


HINTS = {
    "a missing package": (
        "import sklern",
        "No module named 'sklern' (line 1 of script.py). The nearest that there is: 'sklearn' of the package scikit-learn.",
    ),
    "a package's name": ("import opencv", "The image has the package opencv-python-headless; write `import cv2`."),
    "a part of a package": ("import matplotlib.pylot", "the nearest in it is 'matplotlib.pyplot'."),
    "a misspelt name": ("import pandas\npandas.DataFram()", "no attribute 'DataFram' (line 2 of script.py). Did you mean: 'DataFrame'?"),
}


@pytest.mark.parametrize("what", list(HINTS))
def test_a_missing_name_is_told_with_the_nearest_that_there_is(sandbox, what):
    # More of them, on a made-up image, are in tests/unit/test_runner_hints.py.
    script, sentence = HINTS[what]
    run = sandbox.run(script + OK)
    assert run.reason == "script_error"
    assert run.report["message"].endswith(sentence)
    # And in the log, once.
    assert run.log.count(sentence.rpartition(". ")[2]) == 1


def test_a_failure_in_the_bundle_is_told_with_causes_groups_and_both_places(sandbox):
    helper = "def fail():\n    raise ExceptionGroup('many', [ValueError('one'), KeyError('two')])\n"
    script = """import helper
def azureml_main(df=None):
    try:
        1 / 0
    except ZeroDivisionError:
        helper.fail()
"""
    run = sandbox.run(script, inputs={"bundle": bundle({"helper.py": helper})})
    error = run.report["error"]
    assert (
        run.report["message"]
        == "ExceptionGroup: many (2 sub-exceptions) (line 2 of Script Bundle/helper.py, reached from line 6 of script.py)"
    )
    assert (error["type"], error["file"], error["line"], error["source"]) == ("ExceptionGroup", "script.py", 6, "        helper.fail()")
    assert [(frame["file"], frame["line"]) for frame in error["frames"]] == [("script.py", 6), ("Script Bundle/helper.py", 2)]
    for part in ("ZeroDivisionError: division by zero", "During handling of the above", "ValueError: one", "KeyError: 'two'"):
        assert part in error["traceback"]
    assert "fumehood" not in error["traceback"]


def test_a_syntax_error_of_the_bundle_is_told_with_its_own_line(sandbox):
    run = sandbox.run("import helper\n" + IDENTITY, inputs={"bundle": bundle({"helper.py": "x = 1\ndef f(:\n"})})
    assert run.report["message"] == "SyntaxError: invalid syntax (line 2 of Script Bundle/helper.py, reached from line 1 of script.py)"
    assert run.report["error"]["frames"][-1] == {"file": "Script Bundle/helper.py", "line": 2, "function": "<module>", "source": "def f(:"}


def test_memory_beyond_the_limit_is_out_of_memory(sandbox):
    python = sandbox.run("x = bytearray(10**15)" + OK)
    kernel = sandbox.run("x = [bytearray(10**7) for _ in range(10**6)]" + OK, memory_bytes=300 * MEBI, disk_bytes=64 * MEBI)
    assert (python.reason, kernel.reason) == ("out_of_memory", "out_of_memory")
    assert (python.report["error"]["line"], kernel.report["child"]["signal"]) == (1, 9)
    assert kernel.report["oom_kills"] >= 1


def test_a_grandchild_out_of_memory_is_only_a_warning(sandbox):
    script = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'x = [bytearray(10**7) for _ in range(10**6)]'])\n"
    run = sandbox.run(script + OK, memory_bytes=300 * MEBI, disk_bytes=64 * MEBI)
    assert run.reason == "ok", run.report
    assert run.notes("warning") == ["A process that the script had started was ended because memory ran out."]


def test_a_full_disk_is_disk_full(sandbox):
    run = sandbox.run("open('big', 'wb').write(bytes(20_000_000))" + OK, disk_bytes=16 * MEBI)
    assert (run.reason, run.report["error"]["line"]) == ("disk_full", 1)


def test_a_result_beyond_its_limit_is_output_too_large(sandbox):
    script = "import numpy, pandas\ndef azureml_main():\n    return pandas.DataFrame({'x': numpy.zeros(10**6)}),\n"
    run = sandbox.run(script, output_bytes=4_000_000)
    assert run.reason == "output_too_large"
    assert "The result is larger than 4,000,000 bytes" in run.report["message"]
    assert (run.home / "out" / "result.arrow").stat().st_size == 0


def test_a_file_that_grows_past_the_file_limit_is_output_too_large(sandbox):
    run = sandbox.run("open('/out/files.bin', 'wb').truncate(16 * 2**20 + 1)" + OK, disk_bytes=16 * MEBI, output_bytes=MEBI)
    assert (run.reason, run.report["error"]["line"]) == ("output_too_large", 1)


STARTS = {
    "threads": "import threading\n    threading.Thread(target=time.sleep, args=(60,)).start()",
    "programs": "import subprocess\n    subprocess.Popen(['sleep', '60'])",
    "forks": "if not os.fork(): time.sleep(60)",
}


@pytest.mark.parametrize("kind", list(STARTS))
def test_a_refused_process_is_too_many_processes(sandbox, kind):
    run = sandbox.run(f"import os, time\nfor _ in range(200):\n    {STARTS[kind]}\n" + OK, processes=40)
    assert run.reason == "too_many_processes", run.report


def test_the_wall_limit_ends_whatever_runs(sandbox):
    script = """
import os, signal, time
for number in range(1, 64):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
for _ in range(20):
    if not os.fork():
        os.setsid()
        while True: pass
while True: print("flood " * 1000)
"""
    run = sandbox.run(script, wall_seconds=1)
    assert (run.reason, run.report["message"]) == ("timed_out", "The script did not end within its wall limit of 1 s (wall_seconds).")
    done = next(event["at"] for event in run.events if event["event"] == "done")
    ready = next(event["at"] for event in run.events if event["event"] == "ready")
    assert done - ready < 3


def test_nothing_of_the_script_runs_after_the_return(sandbox):
    script = """
import atexit, os, subprocess, sys, threading, time
import pandas as pd
atexit.register(print, "atexit ran")
class Last:
    def __del__(self): os.write(1, b"destructor ran")
keep = Last()
def later():
    time.sleep(1.5)
    os.write(1, b"thread ran")
threading.Thread(target=later).start()
subprocess.Popen(["sh", "-c", "sleep 1.5; echo child ran; echo x > /out/result.arrow"], start_new_session=True)
def azureml_main():
    return pd.DataFrame({"a": [1]})
"""
    run = sandbox.run(script)
    assert (run.reason, run.log, run.frame().a.tolist()) == ("ok", "", [1])
    assert run.report["milliseconds"]["script"] < 1000


def test_the_report_is_written_after_everything_else_is_dead(sandbox):
    script = (
        "import subprocess\nsubprocess.Popen(['sh', '-c', 'while :; do echo forged > /out/report.json; done'], start_new_session=True)\n"
    )
    run = sandbox.run(script + OK)
    assert run.reason == "ok"


def test_a_forked_copy_that_comes_back_from_the_function_says_nothing(sandbox):
    script = """
import os, pandas as pd
def azureml_main():
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        os._exit(5)
    return pd.DataFrame({"forked": [True]})
"""
    run = sandbox.run(script)
    assert (run.reason, run.report["child"]["exit_code"], run.report["result"]) == ("crashed", 5, None)


@pytest.mark.parametrize(
    "connect",
    [
        "import requests\n    requests.get('http://192.0.2.1/', timeout=5)",
        "import urllib.request\n    urllib.request.urlopen('http://example.com', timeout=5)",
    ],
)
def test_a_failed_connection_says_that_there_is_no_network(sandbox, connect):
    run = sandbox.run(f"def azureml_main(df=None):\n    {connect}\n")
    assert run.reason == "script_error"
    for text in (run.report["message"], run.report["error"]["message"], run.log):
        assert "Sandboxes have no network: put what the script needs into its datasets or its bundle." in text


def test_a_report_that_the_script_forges_is_replaced(sandbox):
    script = """
import os
open("/out/report.json", "w").write('{"reason": "ok"}' * 50_000)
open("/out/log", "w").write("forged log" * 1000)
open("/out/files.bin", "w").write("forged files")
for number in range(3, 64):
    try: os.write(number, b'{"script_started": true}\\n{"reason": "sandbox_error", "message": 5, "notes": [1, {}], "result": []}\\n')
    except OSError: pass
os._exit(0)
"""
    run = sandbox.run(script)
    assert run.reason == "crashed"
    assert (run.log, run.report["files"], run.report["notes"], run.report["message"]) == ("", [], [], "")


def test_a_script_that_breaks_its_own_interpreter_is_crashed(sandbox):
    script = "import builtins, json\njson.dumps = builtins.isinstance = builtins.open = None\ndef azureml_main(df=None):\n    return 5\n"
    assert sandbox.run(script).reason == "crashed"


def test_the_supervisor_cannot_be_touched_by_the_script(sandbox):
    script = """
import os, signal
seen = []
for path in ("/proc/1/mem", "/proc/1/environ", "/proc/1/fd/0", "/proc/1/fd/1"):
    try: open(path, "rb"); seen.append(path)
    except OSError: pass
for number in range(1, 64):
    try: os.kill(1, number)
    except OSError: pass
numbers = sorted(map(int, os.listdir("/proc/self/fd")))
print(seen, numbers[:3], os.readlink("/proc/self/fd/0"), open("/proc/self/oom_score_adj").read().strip())
for number in range(3, 16):
    try: print(number, os.readlink(f"/proc/self/fd/{number}").split(":")[0])
    except OSError: pass
"""
    run = sandbox.run(script + OK)
    assert run.reason == "ok", run.report
    first, *others = run.log.splitlines()
    assert first == "[] [0, 1, 2] /dev/null 1000"
    # The report pipe, and nothing else of the runner's.
    assert [line.split()[1] for line in others] == ["pipe"]
