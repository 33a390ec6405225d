"""The client against a front desk that really listens: both ways of waiting, one suite."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from fumehood.client import (
    AsyncClient,
    BadReturn,
    Client,
    ClientError,
    Dataset,
    JobFailed,
    NotConfigured,
    NotSendable,
    NotThere,
    OutOfMemory,
    ScriptError,
    ServiceFault,
    WaitedTooLong,
)  # fmt: skip
from fumehood.client.watching import Shown
from fumehood.job import Job, Kind, Lane
from fumehood.outcome import Reason
from tests.unit.cli_desk import PNG, Listening, arrow, failed, fumehood, made
from tests.unit.front_desk import Made

__all__ = ["fumehood"]


class Awaited:
    """An asynchronous client, handle or result, each of whose calls is awaited where it stands."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._loop = inner, loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if inspect.iscoroutine(value):
            return self._seen(value)
        if inspect.isroutine(value):
            return lambda *args, **kwargs: self._seen(value(*(bare(one) for one in args), **kwargs))
        return value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._seen(self._inner(*(bare(one) for one in args), **kwargs))

    def _seen(self, value: Any) -> Any:
        if inspect.isasyncgen(value):
            return iter(self._loop.run_until_complete(_all(value)))
        found = self._loop.run_until_complete(value) if inspect.iscoroutine(value) else value
        return Awaited(found, self._loop) if type(found).__name__.startswith("Async") else found


def bare(value: Any) -> Any:
    return value._inner if isinstance(value, Awaited) else value


async def _all(source: Any) -> list[Any]:
    return [item async for item in source]


@pytest.fixture(params=["at once", "awaited"])
def client(request: pytest.FixtureRequest, fumehood: Listening) -> Iterator[Any]:
    if request.param == "at once":
        with Client() as one:
            yield one
        return
    with asyncio.Runner() as runner:
        one = Awaited(AsyncClient(), runner.get_loop())
        yield one
        one.close()


class Desk:
    """What jobs were sent, and how they end."""

    def __init__(self, fumehood: Listening) -> None:
        self.fumehood, self.jobs, self.inputs = fumehood, list[Job](), list[dict[str, bytes]]()

    def ends(self, make: Callable[[], Made] = made, says: tuple[str, ...] = ()) -> None:
        self.fumehood.works(make)
        usual = self.fumehood.stand.worker.make

        def work(job: Job, content: bytes) -> Made:
            if job.kind is Kind.SCRIPT:
                self.jobs.append(job)
                self.inputs.append({port: self._read(job, given.blob) for port, given in job.inputs.items()})
                for n, text in enumerate(says):
                    offset = len("".join(says[:n]).encode())
                    self.fumehood.stand.events.publish(job.id, "log", {"attempt": job.attempt, "offset": offset, "text": text})
            return usual(job, content)

        self.fumehood.stand.worker.make = work

    def stays_away(self) -> None:
        """Jobs are taken, and nobody works on them."""
        self.fumehood.stand.queue.awake = {Lane.ERRANDS}

    def _read(self, job: Job, key: str) -> bytes:
        with self.fumehood.stand.desk.blobs.open(job.tenant, key) as blob:
            return blob.read()


@pytest.fixture
def desk(fumehood: Listening) -> Desk:
    made_up = Desk(fumehood)
    made_up.ends()
    return made_up


def double(frame, *, times: int = 2):  # type: ignore[no-untyped-def]
    print("doubling")
    return frame * times


FRAME = pd.DataFrame({"a": [1, 2]})
TRACE = """\
Traceback (most recent call last):
  File "script.py", line 5, in double
    print(1 / 0)
ZeroDivisionError: \x1b[2J zero
"""
REFUSED: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((double, FRAME, FRAME), {}),
    ((double, FRAME), {"tims": 1}),
    ((double, FRAME), {"times": FRAME}),
    ((double, FRAME), {"frame": 1}),
    ((double, [1]), {}),
    ((double, FRAME["a"]), {}),
    ((lambda frame: frame,), {}),
    (("no-such-file.py",), {}),
    ((double, "no-such-file.csv"), {}),
    ((double, __file__), {}),
    ((double, FRAME), {"bundle": 3}),
    ((3,), {}),
]


def table_of(data: bytes) -> pa.Table:
    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def test_a_function_and_a_frame_give_a_result(client: Any, desk: Desk) -> None:
    files = {"plot one.png": PNG, "/models/m.bin": b"model"}
    desk.ends(lambda: made(log=b"doubling\nw\xc3\xb6rld\n", files=files, result=arrow(a=[2, 4], b=["x", None])))

    result = client.run(double, FRAME, times=3)

    assert table_of(desk.inputs[0]["dataset1"]) == pa.table({"a": [1, 2]})
    assert b"def double(frame, *, times: int = 2):" in desk.inputs[0]["script"]
    assert desk.jobs[0].parameters == {"times": 3}
    assert result.frame["a"].tolist() == [2, 4]
    assert result.table == pa.table({"a": [2, 4], "b": ["x", None]})
    assert result.log == "doubling\nwörld\n"
    assert [(one.name, one.media_type, one.bytes) for one in result.figures] == [("plot one.png", "image/png", PNG)]
    assert result.artifacts == {"models/m.bin": b"model"}
    assert result.frame2 is None
    assert result.usage.wall_seconds == 0.5
    assert "succeeded: 2 rows × 2 columns" in repr(bare(result))


def test_modules_of_one_s_own_come_along_as_the_bundle(client: Any, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_mine.py").write_text("from of_mine_too import two\n\n\ndef fit(frame):\n    import of_mine\n    return frame * two()\n")
    (tmp_path / "of_mine_too.py").write_text("def two():\n    return 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("of_mine")
    for name in ("of_mine", "of_mine_too"):
        monkeypatch.setitem(sys.modules, name, sys.modules.pop(name))  # gone with the test

    client.run(module.fit, FRAME)
    client.batch(module.fit, [FRAME, FRAME]).wait(timeout_seconds=60)

    assert b"from of_mine_too import two\n" in desk.inputs[0]["script"]
    with zipfile.ZipFile(io.BytesIO(desk.inputs[0]["bundle"])) as bundle:
        assert bundle.namelist() == ["of_mine.py", "of_mine_too.py"]
    assert [sorted(inputs) for inputs in desk.inputs] == [["bundle", "dataset1", "script"]] * 3


def test_an_artifact_s_name_leads_nowhere_else(client: Any, desk: Desk) -> None:
    desk.ends(lambda: made(files={"/../../../v1/datasets": b"no", "/a/./b": b"no", "/ä/%2e%2e/c": b"yes"}))

    assert client.run(double, FRAME).artifacts == {"ä/%2e%2e/c": b"yes"}


def test_limits_labels_numpy_numbers_and_parameters_with_any_name_are_sent(client: Any, desk: Desk) -> None:
    import numpy as np

    client.run("def azureml_main(**k): ...\n", limits={"wall_seconds": 7}, labels={"team": "x"}, parameters={"limits": [1]}, n=np.int64(3))

    assert desk.jobs[0].limits.wall_seconds == 7
    assert desk.jobs[0].labels == {"team": "x"}
    assert desk.jobs[0].parameters == {"limits": [1], "n": 3}


def test_the_log_is_told_line_by_line_and_none_is_left_out(client: Any, desk: Desk) -> None:
    desk.ends(lambda: made(log="one\ntwö\nthree".encode()), says=("on", "e\ntw"))
    heard: list[str] = []

    client.run(double, FRAME, on_log=heard.append)
    handle = client.submit(double, FRAME)

    assert heard == ["one", "twö", "three"]
    assert list(handle.lines()) == heard


def test_a_log_with_gaps_is_told_with_its_end() -> None:
    whole, gaps = Shown(), Shown()

    assert whole.fresh(0, "one\ntwo\n") == "one\ntwo\n"
    assert whole.fresh(4, "two\nthree\n") == "three\n"
    assert whole.missing(b"one\ntwo\nthree\nfour\n") == "four\n"
    gaps.fresh(0, "one\n")
    gaps.fresh(8, "three\n")
    assert gaps.missing(b"one\ntwo\nthree\n").endswith(":]\none\ntwo\nthree\n")


@pytest.mark.parametrize(
    ("reason", "kind"), [(Reason.SCRIPT_ERROR, ScriptError), (Reason.OUT_OF_MEMORY, OutOfMemory), (Reason.BAD_RETURN, BadReturn)]
)
def test_a_job_that_fails_raises_by_its_reason_and_keeps_what_it_left(client: Any, desk: Desk, reason: Reason, kind: type) -> None:
    trace = TRACE
    error = {"type": "ZeroDivisionError", "message": "zero", "traceback": trace, "file": "script.py", "line": 2, "source": "1 / 0"}
    desk.ends(lambda: failed(reason, "it went wrong (line 5 of script.py)", error))

    with pytest.raises(kind) as caught:
        client.run(double, FRAME)

    failure = caught.value
    assert isinstance(failure, JobFailed)
    assert failure.reason == reason.value
    assert failure.error["type"] == "ZeroDivisionError"
    # The line is that of this file, where the function stands.
    line = double.__code__.co_firstlineno + 1
    assert f'File "test_client_run.py", line {line}, in double' in str(failure)
    assert str(failure).startswith(f"it went wrong (line {line} of test_client_run.py)\n")
    assert "\x1b" not in str(failure)
    assert "print(1 / 0)" in "".join(failure._render_traceback_())
    left = Awaited(failure.result, client._loop) if isinstance(client, Awaited) else failure.result
    assert left.log == "before it broke\n"


def run(work: Any) -> Any:
    with asyncio.Runner() as runner:
        return runner.run(work)


def test_the_service_s_own_faults_are_told_apart(client: Any, desk: Desk) -> None:
    desk.ends(lambda: failed(Reason.SANDBOX_ERROR, "the engine did not answer"))

    with pytest.raises(ServiceFault):
        client.run(double, FRAME)


def test_a_result_is_the_next_input_and_does_not_travel(client: Any, desk: Desk) -> None:
    first = client.run(double, FRAME)
    client.run(double, bare(first))
    client.run(double, None, bare(first).output)

    source = {"job": first.id, "output": "result"}
    assert [dict(job.inputs["dataset1"].source or {}) for job in desk.jobs[1:2]] == [source]
    assert dict(desk.jobs[2].inputs["dataset2"].source or {}) == source


def test_an_uploaded_table_is_used_by_its_id(client: Any, desk: Desk, tmp_path: Path) -> None:
    stored = client.upload(FRAME, name="numbers")
    client.run(double, stored)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    file = client.upload(tmp_path / "t.csv")

    assert isinstance(stored, Dataset)
    assert (stored.name, stored.format, file.name, file.format) == ("numbers", "arrow", "t.csv", "csv")
    assert desk.jobs[0].inputs["dataset1"].dataset == stored.id
    assert [one.id for one in client.datasets()] == [file.id, stored.id]
    assert client.dataset(file.id) == file
    client.delete(file)
    with pytest.raises(NotThere):
        client.dataset(file.id)


def test_jobs_are_listed_and_found_again(client: Any, desk: Desk) -> None:
    first = client.run(double, FRAME, labels={"run": "1"})
    client.run(double, FRAME)

    assert len(client.jobs()) == 2
    assert len(client.jobs(limit=1)) == 1
    found = client.jobs(label="run:1")
    assert [bare(one).id for one in found] == [first.id]
    again = client.job(first.id)
    assert again.status() == "succeeded"
    assert again.result().frame.equals(first.frame)
    assert bare(found[0]).record["state"] == "succeeded"
    client.delete(bare(first))
    with pytest.raises(NotThere):
        client.job(first.id)


def test_a_handle_waits_as_long_as_it_is_told_and_the_job_goes_on(client: Any, desk: Desk) -> None:
    desk.stays_away()
    handle = client.submit(double, FRAME)

    with pytest.raises(WaitedTooLong, match=handle.id):
        handle.wait(0.3)
    with pytest.raises(WaitedTooLong):
        list(handle.lines(0.3))

    assert handle.status() == "queued"
    handle.cancel()
    assert handle.status() == "cancelled"


def test_a_run_that_waited_too_long_cancels_the_job(client: Any, desk: Desk) -> None:
    desk.stays_away()

    for on_log in (None, print):
        with pytest.raises(WaitedTooLong):
            client.run(double, FRAME, timeout_seconds=0.3, on_log=on_log)

    assert {bare(one).record["state"] for one in client.jobs()} == {"cancelled"}


def test_an_error_in_the_listener_cancels_the_job(client: Any, desk: Desk) -> None:
    desk.stays_away()
    publish = desk.fumehood.stand.events.publish
    store = desk.fumehood.stand.store
    taken = store.get_job

    def listen(line: str) -> None:
        raise KeyboardInterrupt

    def looked_up(*args: Any) -> Job:
        job = taken(*args)
        publish(job.id, "log", {"attempt": 1, "offset": 0, "text": "said\n"})
        return job

    store.get_job = looked_up  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        client.run(double, FRAME, on_log=listen)
    store.get_job = taken  # type: ignore[method-assign]

    assert [bare(one).record["state"] for one in client.jobs()] == ["cancelled"]


def test_a_cancelled_task_cancels_its_job(desk: Desk) -> None:
    desk.stays_away()

    async def main() -> list[str]:
        async with AsyncClient() as client:
            work = asyncio.ensure_future(client.run(double, FRAME))
            while not await client.jobs():
                await asyncio.sleep(0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            return [job.record["state"] for job in await client.jobs()]

    assert run(main()) == ["cancelled"]


def test_what_cannot_be_sent_is_refused_before_anything_is(client: Any, desk: Desk) -> None:
    for arguments, parameters in REFUSED:
        with pytest.raises(NotSendable):
            client.run(*arguments, **parameters)

    assert client.jobs() == []


def test_a_table_that_does_not_hold_together_is_an_error_and_no_crash(client: Any, desk: Desk) -> None:
    good = arrow(a=["some text", "more text"])
    at = good.index((0).to_bytes(4, "little") + (9).to_bytes(4, "little") + (18).to_bytes(4, "little"))
    bad = good[: at + 4] + (2**30).to_bytes(4, "little") + good[at + 8 :]
    for result in (b"ARROW1 no table", bad):
        desk.ends(lambda result=result: made(result=result))
        answer = client.run(double, FRAME)
        with pytest.raises(ClientError, match="cannot be read"):
            answer.table  # noqa: B018


def test_a_client_without_a_key_says_where_one_is_looked_for(fumehood: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUMEHOOD_KEY")
    with pytest.raises(NotConfigured, match="fumehood config write"):
        Client()
    with pytest.raises(NotConfigured):
        AsyncClient()


def test_a_configured_key_goes_to_the_configured_address_only(fumehood: Listening) -> None:
    with Client(fumehood.url) as client:
        assert client.jobs() == []
    with pytest.raises(NotConfigured, match="no key for http://elsewhere"):
        Client("http://elsewhere")


def test_both_clients_have_the_same_calls_with_the_same_words() -> None:
    public = [name for name in dir(AsyncClient) if not name.startswith("_")]
    assert len(public) > 15
    for name in public:
        one, other = getattr(Client, name), getattr(AsyncClient, name)
        assert (one.__doc__, inspect.signature(one).parameters) == (other.__doc__, inspect.signature(other).parameters)
        assert one.__doc__
