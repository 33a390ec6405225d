"""The attacks as values, and the ground they run on."""

from __future__ import annotations

import json
import re
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker

from fumehood.limits import Limits
from fumehood.outcome import Reason
from tests.sandboxes import SMALL, Ran, run_script
from worker.docker_sandbox import DockerHost

HEAD = re.compile(
    r"# expect: (?P<reason>\w+)\n# promise: (?P<promise>[1-7])\n(?:# limits: (?P<limits>\{.*\})\n)?\"\"\"(?P<what>[^\"]+)\"\"\"\n"
)
AT_ONCE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """One script of tests/hostile/attacks. An attack that expects `ok` asserts by itself that everything it tried failed."""

    name: str
    reason: Reason
    promise: int
    limits: Limits
    script: str


def read(path: Path) -> Attack:
    text = path.read_text()
    head = HEAD.match(text)
    assert head, f"{path.name} does not begin with `# expect:`, `# promise:` and a docstring"
    values = json.loads(head["limits"] or "{}")
    return Attack(name=path.stem, reason=Reason(head["reason"]), promise=int(head["promise"]), limits=replace(SMALL, **values), script=text)


ATTACKS = {path.stem: read(path) for path in sorted((Path(__file__).parent / "attacks").glob("*.py"))}


class Ground:
    """Runs attacks, two at a time, each once: a test that asks later gets what came out."""

    def __init__(self, host: DockerHost, home: Path) -> None:
        self.host, self.home = host, home
        self.client: Any = docker.APIClient(version="auto", timeout=30)
        home.mkdir(parents=True)
        self.canary = home / "blobs" / "neighbour" / "canary"
        self.canary.parent.mkdir(parents=True)
        self.secret = secrets.token_hex(16)
        self.canary.write_text(self.secret)
        self.canary.chmod(0o444)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._ran: dict[str, Future[Ran]] = {}

    def start_all(self) -> None:
        for attack in ATTACKS.values():
            if attack.name not in self._ran:
                self._ran[attack.name] = self._pool.submit(self.run, attack)

    def ran(self, name: str) -> Ran:
        self.start_all()
        return self._ran[name].result(timeout=200)

    def run(self, attack: Attack) -> Ran:
        return run_script(self.host, self.home, attack.script.replace("CANARY_PATH", str(self.canary)), limits=attack.limits)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.host.close()
