"""Attack: every script of the corpus as an ordinary job of the user's own service, and what came of it, held against the promises.

Nothing here is privileged: jobs are submitted, waited for, read and deleted with the user's key. A job that broke a promise is
kept, so that it can be looked at.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cli.corpus import CANARY, Attack
from fumehood.client.body import Upload
from fumehood.client.errors import ClientError, KeyRefused, NotThere, TooBusy, Unusable
from fumehood.client.surface import Surface
from fumehood.client.words import Document, is_final, quoted
from fumehood.dataset import ARROW
from fumehood.limits import CEILING, KIB, REQUESTABLE
from fumehood.outcome import Reason
from fumehood.receipt import ReceiptRefused, verify
from fumehood.text import one_line

AFTER_LIMIT_SECONDS = 4.0
"""Behind a job's limit: two seconds until the service's own deadline, and what a kill takes on a machine that is busy."""
END_SECONDS = 60.0
"""Behind the limit, until a job that still runs is no longer waited for."""
QUEUE_SECONDS = 600.0
ASK_SECONDS = 5.0
BUSY_SECONDS = 2.0
FOUND_CHARACTERS = 300
# What the supervisor adds to a log beyond its cap; and a byte that is no text is told as one character of three bytes.
LOG_SLACK_BYTES = 16 * KIB
TOLD_BYTES = 3
LABEL = "fumehood.doctor"
HARMLESS = """import pandas

NONCE = {nonce!r}


def azureml_main():
    return pandas.DataFrame({{"harmless": [1]}})
"""


class Verdict(StrEnum):
    HELD = "held"
    BROKEN = "broken"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    attack: Attack
    job: str | None = None
    breaches: tuple[Breach, ...] = ()
    why_not: str = ""
    """Why it was not tried; empty where it was."""
    seconds: float = 0.0
    looked: bool = False
    """Engine and scratch were looked at for what the receipt names."""

    @property
    def verdict(self) -> Verdict:
        return Verdict.NOT_TRIED if self.why_not else Verdict.BROKEN if self.breaches else Verdict.HELD


class Ground(Protocol):
    """What can be seen of the service from where the attacks are started."""

    @property
    def canary(self) -> str:
        """Path of a file that no sandbox may see."""
        ...

    @property
    def runtime(self) -> str: ...

    def left_of(self, receipt: Document) -> list[str] | None:
        """What there still is of what a receipt says is gone; None where that cannot be looked at."""
        ...

    def canary_is_whole(self) -> bool | None: ...

    def walls(self) -> Document | None: ...


class Afar:
    """Another machine: nothing can be looked at, and the canary is a file that most hosts have, and no sandbox."""

    canary = "/etc/machine-id"
    runtime = "runc"

    def left_of(self, receipt: Document) -> None:
        return None

    def canary_is_whole(self) -> None:
        return None

    def walls(self) -> None:
        return None


class NotTried(Exception):
    pass


def signing_keys(client: Surface) -> list[str]:
    """The public keys that the service signs receipts with; none where it does not, or is too old to say."""
    with suppress(NotThere):
        return [str(one["public"]) for one in client.listing("/v1/receipts/keys")]
    return []


def harmless(name: str) -> Attack:
    """A job that attacks nothing and asks for no limits: the service has to serve it before, and as well afterwards."""
    script = HARMLESS.format(nonce=secrets.token_hex(16))
    return Attack(name=name, reason=Reason.OK, promise=5, limits=CEILING, what="Returns a table.", script=script)


def judge(
    attack: Attack, record: Document, downloaded: Mapping[str, int], left: Sequence[str], *, runtime: str, keys: Sequence[str] = ()
) -> Iterator[Breach]:
    """Where a job's end differs from what is promised. `downloaded` counts the bytes that really came, by output; `keys` are those
    that the service signs with, none where it does not sign."""
    limits, outputs, usage = attack.limits, record.get("outputs") or {}, record.get("usage") or {}
    if not is_final(record):
        longest = limits.wall_seconds + END_SECONDS
        yield Breach(expected=f"it ends within {longest:g} s", found=f"it is still {record.get('state')}")
        return
    endings = attack.endings(runtime)
    if record.get("reason") not in endings:
        yield Breach(expected=f"it ends as {' or '.join(sorted(endings))}", found=_ending(record))
    wall, longest = float(usage.get("wall_seconds") or 0.0), limits.wall_seconds + AFTER_LIMIT_SECONDS
    if wall >= longest:
        yield Breach(expected=f"it runs for less than {longest:g} s", found=f"{wall:.1f} s")
    log_bytes = limits.log_bytes + LOG_SLACK_BYTES
    stored = {"result": limits.output_bytes, "result2": limits.output_bytes, "files": limits.disk_bytes, "log": log_bytes}
    told = stored | {"log": log_bytes * TOLD_BYTES}
    for what, counts, caps in (("stored", outputs, stored), ("downloaded", downloaded, told)):
        for name, count in counts.items():
            if count > caps[name]:
                yield Breach(expected=f"at most {caps[name]:,} bytes of its {name} are {what}", found=f"{count:,}")
    if record.get("attempt") != 1:
        yield Breach(expected="it is started once", found=f"it was started {record.get('attempt')} times")
    yield from _judge_receipt(record, keys)
    for one in left:
        yield Breach(expected="what the receipt names is gone", found=f"{one} is still there")


def _judge_receipt(record: Document, keys: Sequence[str]) -> Iterator[Breach]:
    receipt = record.get("erasure") or {}
    if not receipt.get("container"):
        yield Breach(expected="a receipt that names the container that is gone", found="no container in it" if receipt else "no receipt")
    elif (receipt.get("job"), receipt.get("attempt")) != (record.get("id"), record.get("attempt")):
        found = f"it is of attempt {receipt.get('attempt')} of {one_line(receipt.get('job'))}"
        yield Breach(expected="the receipt is of this attempt", found=found)
    elif keys:
        try:
            verify(receipt, keys)
        except ReceiptRefused as refused:
            yield Breach(expected="the receipt is signed with a key of the service", found=one_line(refused.detail))


def _ending(record: Document) -> str:
    """The reason, and what the script or else the service says of it; an assertion without words is told by its line."""
    error = record.get("error") or {}
    words = [str(record.get("reason")), *(str(error[key]) for key in ("type", "message") if error.get(key))]
    if not error:
        words += filter(None, [str(record.get("message") or "")])
    elif not error.get("message") and error.get("source"):
        words.append(str(error["source"]).strip())
    return one_line(": ".join(words)[:FOUND_CHARACTERS])


class Siege:
    """Runs attacks against one service, at most `at_once` together."""

    def __init__(self, client: Surface, ground: Ground, *, at_once: int, keys: Sequence[str] = ()) -> None:
        self.ground, self.keys = ground, keys
        self._client, self._at_once = client, at_once
        self._over = threading.Event()
        self._open: set[str] = set()

    def run(self, attacks: Iterable[Attack], on_start: Callable[[Attack], None] = lambda _: None) -> Iterator[Result]:
        """Results as they come. Whoever stops asking stops the rest, whose jobs are cancelled.

        Raises:
            KeyRefused: the service does not take the key.
        """
        threads = ThreadPoolExecutor(self._at_once)
        running = [threads.submit(self.one, attack, on_start) for attack in attacks]
        try:
            for done in as_completed(running):
                yield done.result()
        except BaseException:
            self._over.set()
            raise
        finally:
            threads.shutdown(cancel_futures=True)
            for job in sorted(self._open):
                self._cancel(job)

    def one(self, attack: Attack, on_start: Callable[[Attack], None] = lambda _: None, *, keep: bool = False) -> Result:
        """One attack to its end. Its job is deleted afterwards, unless it broke something or `keep` says otherwise. Where the caller
        is interrupted, it is cancelled, and deleted if it had not begun."""
        began = time.monotonic()
        on_start(attack)
        job = None
        try:
            job = self._submitted(attack)
            record = self._ended(job, attack)
            downloaded = self._downloaded(record, attack) if is_final(record) else {}
        except NotTried as reason:
            return Result(attack=attack, job=job, why_not=str(reason), seconds=time.monotonic() - began)
        except KeyRefused:
            raise
        except ClientError as error:  # An attack that takes the service away has broken something.
            breach = Breach(expected="the service answers", found=one_line(error.detail))
            return Result(attack=attack, job=job, breaches=(breach,), seconds=time.monotonic() - began)
        except KeyboardInterrupt:
            if job is not None:
                self._cancel(job)
                self.forget(job)
            raise
        receipt = record.get("erasure") or {}
        left = self.ground.left_of(receipt) if receipt.get("container") else None
        breaches = tuple(judge(attack, record, downloaded, left or (), runtime=self.ground.runtime, keys=self.keys))
        if not breaches and not keep:
            self.forget(job)
        return Result(attack=attack, job=job, breaches=breaches, seconds=time.monotonic() - began, looked=left is not None)

    def forget(self, job: str) -> None:
        """A job that cannot be deleted now stays in the user's list, where its label says what it was."""
        with suppress(ClientError):
            self._client.delete_job(job)

    def _submitted(self, attack: Attack) -> str:
        asked = {} if attack.limits is CEILING else attack.limits.as_dict()
        request = {"limits": {name: asked[name] for name in REQUESTABLE if name in asked}, "labels": {LABEL: attack.name}}
        deadline = time.monotonic() + QUEUE_SECONDS
        with tempfile.TemporaryDirectory(prefix="fumehood-") as directory:
            path = Path(directory, "script.py")
            path.write_text(attack.on(self.ground.runtime).script.replace(CANARY, self.ground.canary), encoding="utf-8")
            while True:
                try:
                    job = str(self._client.submit(Upload(path=path, media_type="text/x-python"), {}, request)["id"])
                except TooBusy as busy:
                    self._pause(busy.retry_after_seconds or BUSY_SECONDS)
                    if time.monotonic() > deadline:
                        raise NotTried(f"the service was too busy for {QUEUE_SECONDS:g} s: {busy.detail}") from busy
                except Unusable as refused:
                    fields = [f"{field.pointer.strip('/').replace('/', '.')}: {field.detail}" for field in refused.errors]
                    raise NotTried(one_line("the service refuses it: " + ("; ".join(fields) or refused.detail))) from refused
                else:
                    self._open.add(job)
                    return job

    def _ended(self, job: str, attack: Attack) -> Document:
        """The record once it is final, or as it is when it should long have been."""
        queued_until, runs_until = time.monotonic() + QUEUE_SECONDS, 0.0
        while not is_final(record := self._client.job(job, wait_seconds=ASK_SECONDS)):
            now = time.monotonic()
            if record["state"] == "running" and not runs_until:
                runs_until = now + attack.limits.wall_seconds + END_SECONDS
            if runs_until and now > runs_until:
                self._cancel(job)
                return record
            if not runs_until and now > queued_until:
                self._cancel(job)
                raise NotTried(f"its job was still queued after {QUEUE_SECONDS:g} s")
            self._pause(0.0)
        self._open.discard(job)
        return record

    def _downloaded(self, record: Document, attack: Attack) -> dict[str, int]:
        """Bytes that come when log and tables are asked for; reading ends soon after the most that there may be."""
        names = ["log", *(name for name in ("result", "result2") if record.get(name))]
        most = TOLD_BYTES * (attack.limits.log_bytes + LOG_SLACK_BYTES) + attack.limits.output_bytes
        here = f"/v1/jobs/{quoted(record['id'])}"
        return {name: self._counted(f"{here}/{name}", "text/plain" if name == "log" else ARROW, most) for name in names}

    def _counted(self, path: str, accept: str, most: int) -> int:
        count = 0
        with suppress(NotThere), self._client.content(path, accept=accept) as answer:
            for chunk in answer.iter_bytes():
                count += len(chunk)
                if count > most:
                    break
        return count

    def _pause(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise NotTried("it was interrupted")

    def _cancel(self, job: str) -> None:
        with suppress(ClientError):
            self._client.cancel(job)
        self._open.discard(job)
