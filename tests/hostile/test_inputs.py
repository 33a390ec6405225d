"""Bad bytes hurt only their job: the sandbox that reads them ends with a reason that is the tenant's, and the next one is well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fumehood.outcome import Blame, Reason
from tests.hostile.corpus import Ground, take
from tests.hostile.inputs import BUNDLES, IDENTITY, TABLES, Made
from tests.hostile.test_hostile import AFTER_LIMIT_SECONDS
from tests.sandboxes import SMALL, Ran, run_script

NOTHING = "import os, pandas\ndef azureml_main(*tables):\n    print(sorted(os.listdir('.')))\n    return pandas.DataFrame({'a': [1]})\n"


@pytest.fixture(scope="module", autouse=True)
def the_next_one_is_well(ground: Ground) -> Iterator[None]:
    yield
    assert run(ground, NOTHING).outcome.reason is Reason.OK


def run(ground: Ground, script: str, **inputs: Made) -> Ran:
    return run_script(ground.host, ground.home, script, ready=take(ground.pool), inputs=inputs)


def hold(ran: Ran, reasons: set[str], ground: Ground) -> None:
    outcome = ran.outcome
    assert str(outcome.reason) in reasons, (outcome.message, outcome.error, ran.exit)
    assert outcome.reason.blame in (Blame.TENANT, Blame.NOBODY)
    assert ran.exit.wall_seconds < SMALL.wall_seconds + AFTER_LIMIT_SECONDS
    # In words for who sent it, and none about us.
    assert outcome.message or outcome.reason is Reason.OK
    assert str(ground.home) not in outcome.message
    assert ground.canary.read_text() == ground.secret


@pytest.mark.parametrize("name", TABLES)
def test_a_hostile_table_ends_its_job_with_a_reason(name: str, ground: Ground) -> None:
    make, reasons = TABLES[name]
    hold(run(ground, IDENTITY, dataset1=make()), reasons, ground)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_hostile_bundle_ends_its_job_with_a_reason(name: str, ground: Ground) -> None:
    make, reasons = BUNDLES[name]
    hold(run(ground, NOTHING, bundle=make()), reasons, ground)
