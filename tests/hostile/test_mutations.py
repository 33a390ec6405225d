"""Each control of the isolation literal, taken away: then at least one attack must succeed, or the attacks prove nothing.

Where two controls stand behind each other, both are taken away, and a second test shows that the user who owns nothing holds alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fumehood.outcome import Reason
from tests.hostile.corpus import ATTACKS, Ground
from tests.hostile.mutations import MUTATIONS, Literal, Mutation, with_host_mount, with_ulimit
from worker import container, isolation


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mutation], None]:
    """Change the literal for this test, so that the engine is asked for, and held to, the weaker thing."""

    def change(mutation: Mutation) -> None:
        original, compare, ours = isolation.container, isolation.deviations, threading.current_thread()

        def weaker(**values: Any) -> tuple[Literal, Literal]:
            config, host_config = original(**values)
            if threading.current_thread() is not ours:
                return config, host_config  # A pool prepares one, for another test.
            changes = mutation.host_config(host_config) if callable(mutation.host_config) else mutation.host_config
            return config | mutation.config, host_config | changes

        def blind(inspected: Literal, **wanted: Any) -> list[str]:
            return [] if threading.current_thread() is ours else compare(inspected, **wanted)

        monkeypatch.setattr(isolation, "container", weaker)
        if mutation.unseen:
            monkeypatch.setattr(isolation, "deviations", blind)

    return change


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_the_control_an_attack_succeeds(name: str, ground: Ground, mutate: Callable[[Mutation], None]) -> None:
    mutation = MUTATIONS[name]
    attack = ATTACKS[mutation.attack]
    mutate(mutation)
    for _ in range(mutation.tries):
        ran = ground.run(replace(attack, limits=replace(attack.limits, **mutation.limits)))
        if ran.outcome.reason is not attack.reason:
            break
    assert ran.outcome.reason is not attack.reason, f"without {name} the attack {attack.name} ends as it does with it: {ran.log[-2000:]}"
    assert (ran.exit.ready, ran.outcome.reason) == (True, mutation.ends), (ran.outcome, ran.log[-2000:])
    if mutation.ends is Reason.SCRIPT_ERROR:
        assert ran.outcome.error is not None
        assert ran.outcome.error["type"] == mutation.error, ran.outcome.error


def test_without_the_cap_on_files_a_sparse_output_succeeds(
    ground: Ground, mutate: Callable[[Mutation], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two controls: the engine's ulimit, and the runner that lowers it at the go line. Either holds alone."""
    attack = ATTACKS["sparse_output"]
    mutation = Mutation(attack=attack.name, host_config=with_ulimit("fsize", None))
    mutate(mutation)
    assert ground.run(attack).outcome.reason is attack.reason, "the runner's own limit holds"
    original = container.DockerSandbox._go
    endless = replace(attack.limits, output_bytes=2**62)
    monkeypatch.setattr(container.DockerSandbox, "_go", lambda self, limits: original(self, endless))
    ran = ground.run(attack)
    assert ran.outcome.reason is not attack.reason
    assert ran.report.too_large == () or "files.bin" in ran.report.too_large


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("write_everywhere", Mutation(attack="write_everywhere", host_config={"ReadonlyRootfs": False})),
        ("reach_the_canary", Mutation(attack="reach_the_canary", host_config=with_host_mount)),
        ("change_the_kernels_settings", Mutation(attack="change_the_kernels_settings", host_config={"ReadonlyPaths": []})),
    ],
)
def test_a_user_that_owns_nothing_holds_alone(name: str, alone: Mutation, ground: Ground, mutate: Callable[[Mutation], None]) -> None:
    mutate(alone)
    assert ground.run(ATTACKS[name]).outcome.reason is Reason.OK


def test_every_mutation_names_an_attack_of_the_corpus() -> None:
    assert {mutation.attack for mutation in MUTATIONS.values()} <= set(ATTACKS)
