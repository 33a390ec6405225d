"""Every attack on the API ends as it says, over real sockets; afterwards the API is as it was, and so is the neighbour's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.hostile.desk.crowds import CROWDS
from tests.hostile.desk.documents import DOCUMENTS, FORMS
from tests.hostile.desk.fields import FIELDS
from tests.hostile.desk.framing import FRAMING
from tests.hostile.desk.target import Target, process, unharmed
from tests.hostile.desk.walking import WALKING
from tests.hostile.desk.wire import Attack, Ending

GROUPS: dict[str, Mapping[str, Attack]] = {
    "framing": FRAMING,
    "documents": DOCUMENTS,
    "forms": FORMS,
    "fields": FIELDS,
    "walking": WALKING,
}
# Most of an attack's time is waiting to be dropped.
AT_ONCE = 12
CONNECTIONS = 128


class Ran:
    """The attacks of a group, run together once; who asks first starts them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._found: dict[str, dict[str, Future[Ending]]] = {}

    def group(self, name: str) -> dict[str, Future[Ending]]:
        if name not in self._found:
            with unharmed(self._target), ThreadPoolExecutor(AT_ONCE) as pool:
                self._found[name] = {each: pool.submit(attack.run, self._target) for each, attack in GROUPS[name].items()}
        return self._found[name]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with process(tmp_path_factory.mktemp("desk") / "home") as made:
        yield made


@pytest.fixture(scope="module")
def ran(target: Target) -> Ran:
    return Ran(target)


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, attacks in GROUPS.items() for name in attacks])
def test_the_attack_ends_as_it_says(group: str, name: str, ran: Ran) -> None:
    assert ran.group(group)[name].result() == GROUPS[group][name].ends, GROUPS[group][name].tries


@pytest.mark.parametrize("name", [name for name in CROWDS if name != "idle connections"])
def test_a_crowd_ends_as_it_says_and_keeps_nobody_out(name: str, target: Target) -> None:
    with unharmed(target):
        assert CROWDS[name].run(target) == CROWDS[name].ends, CROWDS[name].tries


def test_more_connections_than_there_may_be_keep_nobody_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    with process(tmp_path_factory.mktemp("narrow") / "home", connections_max=CONNECTIONS, body_idle_seconds=30) as narrow, unharmed(narrow):
        assert CROWDS["idle connections"].run(narrow) == CROWDS["idle connections"].ends


def test_the_log_of_all_this_holds_no_key_and_no_line_of_theirs(target: Target, ran: Ran) -> None:
    ran.group("fields")
    log = (target.home / "api.log").read_text()
    assert not [secret for secret in (target.key, target.other_key) if secret in log]
    assert all(line.startswith("{") for line in log.splitlines())
    assert "request failed" not in log
    assert "Traceback" not in log
