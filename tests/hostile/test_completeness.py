"""No control without a mutation, no attack without a promise: the tables of the corpus are held against the code."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.hostile.controls import CONFIG, HOST_CONFIG, PLACES, RUNNER, SECCOMP, of_host_config, of_seccomp
from tests.hostile.corpus import ATTACKS
from tests.hostile.mutations import MASKED_GROUPS, MUTATIONS
from tests.hostile.runner_mutations import WEAKER
from tests.sandboxes import SMALL
from worker.isolation import MASKED_PATHS, Host, container
from worker.scratch import Scratch

HERE = Path(__file__).parent
RUNNER_DIRECTORY = HERE.parents[1] / "images" / "anaconda" / "runner"
TABLES = {"host configuration": HOST_CONFIG, "configuration": CONFIG, "filter": SECCOMP, "runner": RUNNER, "bounds": PLACES}
# Other words for the same: nothing here can be made to go wrong without it. A longer list would be an excuse.
WITHOUT_MUTATION_MOST = {"host configuration": 30, "configuration": 6, "filter": 0}


@pytest.fixture
def asked(tmp_path: Path) -> tuple[set[str], set[str]]:
    """The controls of a whole host and of a configuration, as the engine is asked for them."""
    scratch = Scratch.create(tmp_path, worker="w")
    config, host_config = container(
        image="sha256:0", scratch=scratch, limits=SMALL, uid=4_000_000, host=Host(), labels={}, wait_seconds=1.0
    )
    scratch.erase()
    return set(config), set(of_host_config(host_config))


def test_every_key_of_the_literal_is_shown_to_hold_something(asked: tuple[set[str], set[str]]) -> None:
    config, host_config = asked
    assert host_config == set(HOST_CONFIG)
    assert config == set(CONFIG)


def test_every_line_of_what_the_filter_denies_is_taken_away() -> None:
    missing = [line for line in of_seccomp() if not any(line.startswith(beginning) for beginning in SECCOMP)]
    gone = [beginning for beginning in SECCOMP if not any(line.startswith(beginning) for line in of_seccomp())]
    assert (missing, gone) == ([], [])


def test_every_masked_path_is_looked_at_and_in_a_group() -> None:
    groups = [path for paths in MASKED_GROUPS.values() for path in paths]
    assert sorted(groups) == sorted(MASKED_PATHS)
    assert [path for path in MASKED_PATHS if f'"{path}"' not in ATTACKS["look_around"].script] == []


def test_every_module_and_every_bound_of_the_runner_has_an_entry() -> None:
    assert {path.stem for path in RUNNER_DIRECTORY.glob("*.py")} == set(RUNNER)
    tree = ast.parse((RUNNER_DIRECTORY / "places.py").read_text())
    bounds = {
        each.targets[0].id
        for each in tree.body
        if isinstance(each, ast.Assign) and not isinstance(each.value, ast.Dict) and is_number(each)
    }
    assert bounds == set(PLACES)


def is_number(assigned: ast.Assign) -> bool:
    return isinstance(assigned.value, ast.BinOp) or (isinstance(assigned.value, ast.Constant) and isinstance(assigned.value.value, int))


@pytest.mark.parametrize("name", TABLES)
def test_what_an_entry_names_is_there(name: str) -> None:
    for control, shown in TABLES[name].items():
        assert bool(shown.by) + bool(shown.test) + bool(shown.why) == 1, control
        assert set(shown.by) <= set(MUTATIONS) | set(WEAKER), control
        if shown.test:
            file, _, test = shown.test.partition("::")
            assert f"def {test}(" in (HERE / file).read_text(), control


def test_few_controls_have_only_a_sentence() -> None:
    for name, most in WITHOUT_MUTATION_MOST.items():
        assert len([shown for shown in TABLES[name].values() if shown.why]) <= most, name


def test_every_mutation_is_one_of_a_control() -> None:
    named = {name for table in TABLES.values() for shown in table.values() for name in shown.by}
    assert set(MUTATIONS) | set(WEAKER) == named


def test_no_attack_is_a_decoration() -> None:
    """Each succeeds where some control is gone, or is one of those that break the machine's resources, the report, or nothing at all."""
    by_mutation = {mutation.attack for mutation in MUTATIONS.values()} | {weaker.attack for weaker in WEAKER.values()}
    assert sorted(set(ATTACKS) - by_mutation - set(NO_SINGLE_CONTROL)) == []
    assert sorted(set(NO_SINGLE_CONTROL) & by_mutation) == []


def told(names: str, sentence: str) -> Iterable[tuple[str, str]]:
    return ((name, sentence) for name in names.split())


# Attacks that no one control holds: the whole of the design does.
NO_SINGLE_CONTROL = dict(
    [
        *told(
            "arrow_capsule blame_the_service break_off_before_the_call "
            "deep_recursion endless_error exit_137 forge_a_half_report huge_names "
            "no_standard_streams patch_the_runner trick_the_readers report_and_linger",
            "It breaks its own process. That the supervisor is another, and that the worker has a verdict of its own, is no switch.",
        ),
        *told(
            "fork_bomb spin endless_output drip_on_the_log thread_bomb memory_bomb_in_a_child memory_of_nobody last_moment stop_the_others "
            "pipes_and_watches nested_directories",
            "Several limits hold it, each of which another attack shows.",
        ),
        *told("hard_links unix_sockets kernel_words", "The kernel itself refuses, to a user that owns nothing and has no capabilities."),
        *told("beyond_the_limit", "test_warm_mutations.py takes its control away, which is the worker's."),
        *told(
            "sparse_output sparse_outputs", "The limit on a file's size holds, which test_mutations.py takes away in both of its places."
        ),
    ]
)
