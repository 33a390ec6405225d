"""The attacks as values, and the ground they run on."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import docker

from cli.corpus import CANARY, Attack, attacks
from fumehood.errors import SandboxError
from fumehood.job import Job, Lane, new_id
from fumehood.limits import Limits
from fumehood.settings import Settings
from tests.sandboxes import SMALL, Ran, left_over, open_ahead, run_script
from tests.services import until
from worker import runtimes
from worker.docker_sandbox import DockerHost
from worker.recipe import Recipe
from worker.sandbox import Sandbox
from worker.warm_pool import WarmPool

AT_ONCE = 2
STARTS = ("cold", "warm", "prepared")
# Elsewhere what differs is what a start itself is, and of that these are all.
STARTS_ELSEWHERE = ("cold", "warm")
# What sandboxes of a pool are made with: the service's defaults, so that the rest of an attack's limits is changed while it lives.
WARM = replace(Limits(), disk_bytes=SMALL.disk_bytes)
READY_SECONDS = 90.0


ATTACKS = attacks()


def recipe_of(runtime: str, *, size: int, limits: Limits = SMALL) -> Recipe:
    """Where the limits of a sandbox that waits cannot be changed, it is made with `limits`: those of most attacks."""
    changeable = runtimes.family(runtime).changeable
    return Recipe(limits=WARM if changeable else limits, at_least=size, at_most=size, changeable=changeable)


def open_pool(host: DockerHost, home: Path, *, size: int, runtime: str = "runc", limits: Limits = SMALL) -> WarmPool:
    """A pool of `size` that wait, filled again while others run."""
    pool = WarmPool(
        {Lane.JOBS: recipe_of(runtime, size=size, limits=limits)},
        host=host,
        home=home,
        worker=host.worker_id,
        cpus=AT_ONCE,
        idle_seconds=60.0,
        may_fill=lambda: True,
    )
    pool.start()
    return pool


def take(pool: WarmPool, limits: Limits = SMALL) -> Sandbox:
    """One that waited, fitted to `limits`, as a claim and its job get it."""
    held = until(lambda: pool.hold(Lane.JOBS), seconds=READY_SECONDS, what="a warm sandbox")
    with pool.offer(Job(id=new_id("job"), tenant=new_id("ten"), limits=limits, sandbox=held.name)) as offer:
        assert offer.sandbox is not None, offer.reason
        assert offer.reason is None
        return offer.sandbox


class Ground:
    """Runs attacks, two at a time, each once a start: a test that asks later gets what came out."""

    def __init__(self, host: DockerHost, home: Path, *, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
        """`settings` are those of `host` that name an engine and a wall of their own."""
        self.host, self.home, self.settings = host, home, settings
        self.runtime = settings.get("runtime", "runc")
        self.client: Any = docker.APIClient(base_url=settings.get("docker_host"), version="auto", timeout=30)
        home.mkdir(parents=True)
        self.canary = home / "blobs" / "neighbour" / "canary"
        self.canary.parent.mkdir(parents=True)
        self.secret = secrets.token_hex(16)
        self.canary.write_text(self.secret)
        self.canary.chmod(0o444)
        self.pool = open_pool(host, home, size=AT_ONCE, runtime=self.runtime)
        self.opened_ahead: set[str] = set()
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._ran: dict[tuple[str, str], Future[Ran]] = {}

    def start_all(self) -> None:
        for attack in ATTACKS.values():
            for start in self.starts(attack):
                if (attack.name, start) not in self._ran:
                    self._ran[attack.name, start] = self._threads.submit(self.run, attack, start)

    def starts(self, attack: Attack) -> tuple[str, ...]:
        """As in the service, no job gets one that waits and cannot be given its limits."""
        starts = STARTS if self.runtime == "runc" else STARTS_ELSEWHERE
        fits = recipe_of(self.runtime, size=1).unfit(attack.limits) is None
        return tuple(start for start in starts if fits or start != "warm")

    def submit(self, work: Callable[..., Ran], *arguments: Any) -> Future[Ran]:
        """Anything else, two at a time."""
        return self._threads.submit(work, *arguments)

    def ran(self, name: str, start: str) -> Ran:
        self.start_all()
        return self._ran[name, start].result(timeout=300)

    def run(self, attack: Attack, start: str = "cold") -> Ran:
        script = attack.script.replace(CANARY, str(self.canary))
        ready = None
        if start == "warm":
            ready = take(self.pool, attack.limits)
        elif start == "prepared":
            # As in the service: the call of a script that cannot be opened ahead goes to another sandbox.
            with contextlib.suppress(SandboxError):
                ready = open_ahead(self.host, self.home, script, limits=attack.limits)
                self.opened_ahead.add(attack.name)
        return run_script(self.host, self.home, script, limits=attack.limits, ready=ready)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        assert self.pool.close(), "the pool left something"
        self.host.close()


@contextmanager
def standing(home: Path, image: str, *, worker: str, **settings: Any) -> Iterator[Ground]:
    """Where the attacks run, beside a neighbour's file; at the end no container and no scratch of it may be left. `settings` name an
    engine and a wall of their own."""
    host = DockerHost(Settings(home=home, image=image, **settings), worker_id=worker)
    ground = Ground(host, home, settings=settings)
    host.check()
    yield ground
    ground.close()
    left = left_over(ground.client, home)
    ground.client.close()
    assert not any(left.values()), left
