"""Every attack on the API ends as it says, over real sockets; afterwards the API is as it was, and so is the neighbour's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hostile.desk.crowds import CROWDS
from tests.hostile.desk.documents import DOCUMENTS, FORMS
from tests.hostile.desk.fields import FIELDS
from tests.hostile.desk.framing import FRAMING
from tests.hostile.desk.target import Target, process, unharmed
from tests.hostile.desk.walking import WALKING
from tests.hostile.desk.wire import Attack

GROUPS: dict[str, Mapping[str, Attack]] = {
    "framing": FRAMING,
    "documents": DOCUMENTS,
    "forms": FORMS,
    "fields": FIELDS,
    "walking": WALKING,
}
AT_ONCE = 12
CONNECTIONS = 128


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with process(tmp_path_factory.mktemp("desk") / "home") as made:
        yield made


@pytest.mark.parametrize("group", GROUPS)
def test_each_attack_ends_as_it_says(group: str, target: Target) -> None:
    """All of a group at once: most of an attack's time is waiting to be dropped."""
    with unharmed(target), ThreadPoolExecutor(AT_ONCE) as pool:
        running = {name: pool.submit(attack.run, target) for name, attack in GROUPS[group].items()}
    # An attack that looks for itself fails by an assertion of its own.
    found = {name: each.exception() or each.result() for name, each in running.items()}
    wrong = [
        f"{name} (it tries {attack.tries}): expected {attack.ends!r}, got {found[name]!r}"
        for name, attack in GROUPS[group].items()
        if found[name] != attack.ends
    ]
    assert wrong == []


@pytest.mark.parametrize("name", [name for name in CROWDS if name != "idle connections"])
def test_a_crowd_ends_as_it_says_and_keeps_nobody_out(name: str, target: Target) -> None:
    with unharmed(target):
        assert CROWDS[name].run(target) == CROWDS[name].ends, CROWDS[name].tries


def test_more_connections_than_there_may_be_keep_nobody_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    with process(tmp_path_factory.mktemp("narrow") / "home", connections_max=CONNECTIONS, body_idle_seconds=30) as narrow, unharmed(narrow):
        assert CROWDS["idle connections"].run(narrow) == CROWDS["idle connections"].ends


def test_the_log_of_all_this_holds_no_key_and_no_line_of_theirs(target: Target) -> None:
    for attack in FIELDS.values():
        attack.run(target)
    log = (target.home / "api.log").read_text()
    assert not [secret for secret in (target.key, target.other_key) if secret in log]
    assert all(line.startswith("{") for line in log.splitlines())
    assert "request failed" not in log
    assert "Traceback" not in log
