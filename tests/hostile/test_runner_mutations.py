"""Each control of the runner, taken away: then an attack, a table or a bundle gets through that does not otherwise."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.hostile.corpus import ATTACKS, Ground
from tests.hostile.inputs import BUNDLES, IDENTITY, TABLES
from tests.hostile.runner import runner_with
from tests.hostile.runner_mutations import WEAKER, Weaker
from tests.hostile.test_inputs import NOTHING
from tests.sandboxes import Ran, run_script
from worker import isolation


def run(weaker: Weaker, ground: Ground) -> Ran:
    if weaker.attack:
        return ground.run(ATTACKS[weaker.attack])
    if weaker.table:
        return run_script(ground.host, ground.home, IDENTITY, inputs={"dataset1": TABLES[weaker.table][0]()})
    return run_script(ground.host, ground.home, NOTHING, inputs={"bundle": BUNDLES[weaker.bundle][0]()})


@pytest.mark.parametrize("name", WEAKER)
def test_without_the_runners_control_something_gets_through(name: str, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    weaker, original, ours = WEAKER[name], isolation.container, threading.current_thread()

    def changed(**values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        config, host_config = original(**values)
        if threading.current_thread() is ours:  # And not a pool, which prepares one for another test.
            config = config | {"Entrypoint": runner_with(weaker.change, first=weaker.first)}
        return config, host_config

    monkeypatch.setattr(isolation, "container", changed)
    ran = run(weaker, ground)
    assert ran.exit.ready, (ran.outcome, ran.exit)
    if weaker.ends is not None:
        assert ran.outcome.reason is weaker.ends, (ran.outcome, ran.exit, ran.log[-2000:])
    if weaker.shows is not None:
        assert weaker.shows(ran), (ran.outcome, ran.exit, ran.log[-2000:])


@pytest.mark.parametrize("name", [name for name, weaker in WEAKER.items() if weaker.shows is not None])
def test_with_the_runners_control_it_does_not(name: str, ground: Ground) -> None:
    weaker = WEAKER[name]
    assert weaker.shows is not None
    assert not weaker.shows(ground.ran(weaker.attack, "cold"))


def test_what_gets_through_is_what_otherwise_would_end_in_one_other_way() -> None:
    for name, weaker in WEAKER.items():
        assert bool(weaker.attack) + bool(weaker.table) + bool(weaker.bundle) == 1, name
        assert (weaker.ends is None) != (weaker.shows is None), name
        if weaker.attack:
            assert weaker.ends is not ATTACKS[weaker.attack].reason, name
        else:
            reasons = TABLES[weaker.table][1] if weaker.table else BUNDLES[weaker.bundle][1]
            assert reasons == {"bad_input"}, f"{name}: {weaker.table or weaker.bundle} may end as {sorted(reasons)}"
