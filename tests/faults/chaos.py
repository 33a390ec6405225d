"""Faults, one at a time or together, at random moments; a seed makes the same ones again (not their timing)."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import redis

from fumehood.job import Lane
from fumehood.job_queue import queue_name
from tests.faults.engine import Daemon
from tests.faults.service import Service

Undo = tuple[float, Callable[[], object]]
"""What ends the fault, and after how many seconds."""
Fault = Callable[[Service, random.Random], Undo | None]
# Longer than a lease, so that who wakes finds that others went on.
FROZEN_SECONDS = (0.5, 9.0)
LOOK_SECONDS = 0.1
TICKETS = [queue_name(lane) for lane in Lane]


def kill_a_worker(service: Service, chance: random.Random) -> None:
    service.parts[chance.choice(_workers(service))].kill()


def kill_every_worker(service: Service, chance: random.Random) -> None:
    for name in _workers(service):
        service.parts[name].kill()


def kill_the_api(service: Service, chance: random.Random) -> None:
    service.parts["api"].kill()


def kill_redis(service: Service, chance: random.Random) -> None:
    service.parts["redis"].kill()


def kill_the_engine(service: Service, chance: random.Random) -> None:
    """Its containers live on until it is back, and then it ends them."""
    service.engine.dockerd.kill()


def kill_the_engine_and_its_containers_keeper(service: Service, chance: random.Random) -> None:
    service.engine.dockerd.kill()
    service.engine.containerd.kill()


def kill_everything(service: Service, chance: random.Random) -> None:
    service.engine.dockerd.kill()
    for part in service.parts.values():
        part.kill()


def freeze_a_worker(service: Service, chance: random.Random) -> Undo:
    """It wakes when its lease is over, or may be; the others go on meanwhile."""
    return _freeze(service.parts[chance.choice(_workers(service))], chance.uniform(*FROZEN_SECONDS))


def freeze_the_engine(service: Service, chance: random.Random) -> Undo:
    return _freeze(service.engine.dockerd, chance.uniform(0.5, 4.0))


def freeze_redis(service: Service, chance: random.Random) -> Undo:
    return _freeze(service.parts["redis"], chance.uniform(0.5, 4.0))


def lose_messages(service: Service, chance: random.Random) -> None:
    with suppress(redis.RedisError), service.redis() as client:
        client.unlink(*TICKETS)


def forget_all_of_redis(service: Service, chance: random.Random) -> None:
    with suppress(redis.RedisError), service.redis() as client:
        client.flushall()


def double_messages(service: Service, chance: random.Random) -> None:
    with suppress(redis.RedisError), service.redis() as client:
        for name in TICKETS:
            for ticket in client.lrange(name, 0, -1):
                client.lpush(name, ticket, ticket)


FAULTS: dict[Fault, int] = {
    kill_a_worker: 8,
    kill_every_worker: 2,
    kill_the_api: 4,
    kill_redis: 3,
    kill_the_engine: 4,
    kill_the_engine_and_its_containers_keeper: 1,
    kill_everything: 2,
    freeze_a_worker: 4,
    freeze_the_engine: 1,
    freeze_redis: 1,
    lose_messages: 2,
    forget_all_of_redis: 1,
    double_messages: 2,
}


class Chaos:
    """A fault every `every_seconds` or so, while the block lasts; each is over when the block is. `done` counts them. The next
    comes after one more job has ended, as `ended` counts them, or after `patience_seconds`: a slow machine that is killed before it has
    started never would."""

    def __init__(
        self,
        service: Service,
        *,
        every_seconds: float,
        seed: int,
        say: Callable[[str], None],
        faults: Mapping[Fault, int],
        ended: Callable[[], int],
        patience_seconds: float,
    ) -> None:
        self._service, self._every_seconds, self._say, self._faults = service, every_seconds, say, faults
        self._ended, self._patience_seconds = ended, patience_seconds
        self._chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._undo: dict[Fault, tuple[float, Callable[[], object]]] = {}
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="chaos", daemon=True)

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(120)
        if self._error is not None:
            raise self._error

    def _go_on(self) -> None:
        try:
            try:
                while not self._wait_until(time.monotonic() + self._chance.uniform(0.5, 1.5) * self._every_seconds):
                    before = self._ended()
                    self._strike()
                    if self._wait_for_more_than(before):
                        break
            finally:
                for _, undo in self._undo.values():
                    undo()
        except BaseException as error:
            self._error = error

    def _wait_until(self, moment: float) -> bool:
        """True when it is over. Ends on the way what is to end."""
        while True:
            fault, (due, undo) = min(self._undo.items(), key=lambda item: item[1][0], default=(None, (math.inf, lambda: None)))
            if self._over.wait(max(0.0, min(moment, due) - time.monotonic())):
                return True
            if fault is None or moment < due:
                return False
            del self._undo[fault]
            undo()

    def _wait_for_more_than(self, before: int) -> bool:
        """True when it is over. Who waits for the jobs has a deadline."""
        until = time.monotonic() + self._patience_seconds
        while self._ended() <= before and time.monotonic() < until:
            if self._wait_until(time.monotonic() + LOOK_SECONDS):
                return True
        return False

    def _strike(self) -> None:
        possible = {fault: weight for fault, weight in self._faults.items() if fault not in self._undo}
        if not possible:
            return
        (fault,) = self._chance.choices(list(possible), list(possible.values()))
        self._say(fault.__name__)
        undo = fault(self._service, self._chance)
        if undo is not None:
            self._undo[fault] = (time.monotonic() + undo[0], undo[1])
        self.done[fault.__name__] += 1


def _workers(service: Service) -> list[str]:
    return [name for name in service.parts if name.startswith("worker")]


def _freeze(daemon: Daemon, seconds: float) -> Undo:
    """Other faults go on meanwhile; who is killed while frozen is dead, and its successor need not be woken."""
    daemon.signal(signal.SIGSTOP)
    return seconds, lambda: daemon.signal(signal.SIGCONT)
