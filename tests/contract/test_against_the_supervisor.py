"""What a script does to its own sandbox ends as the script's doing: the supervisor tells of it, or at least never blames the service."""

from __future__ import annotations

import pytest

TABLE = "import pandas\ndef azureml_main():\n    {attack}\n    return pandas.DataFrame({{'a': [1]}})\n"


@pytest.mark.parametrize(
    "attack",
    [
        "import os; os.chmod('/job', 0)",
        "import os; os.chmod('/job', 0o400)",
        "import os; open('a.png', 'wb').write(b'x'); os.chmod('/job', 0)",
        "import os; os.makedirs('outputs/in'); os.chmod('outputs/in', 0); os.chmod('outputs', 0)",
        "import os; [os.mkdir(f'outputs{n}.png', 0) for n in range(50)]",
        "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('/job/gone')",
        "import shutil; shutil.rmtree('/job', ignore_errors=True)",
    ],
)
def test_whatever_becomes_of_its_directories_a_good_return_is_ok(sandbox, attack):
    run = sandbox.run(TABLE.format(attack=attack))
    assert (run.reason, run.events[-1]["event"]) == ("ok", "done"), run.report
    assert run.table().to_pydict() == {"a": [1]}


def test_what_cannot_be_read_is_told(sandbox):
    run = sandbox.run(TABLE.format(attack="import os; open('a.png', 'wb').write(b'x'); os.chmod('/job', 0)"))
    assert run.report["files"] == []
    assert len(run.notes("files_incomplete")) == 1


def test_a_supervisor_without_descriptors_says_crashed(sandbox):
    # The worker's system call filter refuses this; the runner does not rely on it.
    run = sandbox.run(TABLE.format(attack="import resource; resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))"))
    assert (run.reason, run.events[-1]["event"]) == ("crashed", "done")
    assert run.report["message"].startswith("The script left its sandbox unable to tell how it went (")
    assert run.report["result"] is None


def test_a_supervisor_that_may_not_write_ends_without_a_word(sandbox):
    run = sandbox.run(TABLE.format(attack="import resource; resource.prlimit(1, resource.RLIMIT_FSIZE, (0, 0))"))
    assert (run.report, [event["event"] for event in run.events]) == (None, ["ready"])
    assert run.exit_code not in (0, 3, 137)


FORGED = """
import json, os
def azureml_main():
    {before}
    word = {{"reason": "ok", "result": {{"rows": 1, "columns": [{{"name": "a", "type": "int64", "nullable": True}}]}}}}
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, json.dumps(word).encode() + b"\\n")
        except OSError:
            pass
    os._exit(0)
"""


@pytest.mark.parametrize("before", ["pass", "open('/out/result.arrow', 'wb').write(b'rubbish' * 99)"])
def test_a_good_word_in_the_runners_name_without_a_table_is_a_crash(sandbox, before):
    run = sandbox.run(FORGED.format(before=before))
    assert (run.reason, run.report["message"]) == ("crashed", "The script ended its process before its result was written.")
    assert (run.home / "out" / "result.arrow").stat().st_size == 0
