"""The schema's revisions over every database: up, down and up again, and a schema that is newer than we are."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from fumehood.database import Database
from fumehood.errors import Misconfigured
from fumehood.job import Lane
from fumehood.job_store import JobStore
from fumehood.migrations import BASE, check_known, current, downgrade, revisions, upgrade
from fumehood.receipt import SigningKey
from fumehood.schema import METADATA
from fumehood.testing import dataset, erasure, job, outcome

ROOT = Path(__file__).resolve().parents[2]
REVISIONS = revisions()
VERSION_TABLE = "alembic_version"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    database = Database(store_url)
    database.prepare()
    yield database
    database.close()


def go(database: Database, revision: str) -> None:
    with database.migrating() as connection:
        found = current(connection) or ""
        (upgrade if revision != BASE and found < revision else downgrade)(connection, revision)


def shape(database: Database) -> dict[str, object]:
    """Tables with their columns, indexes and keys, as the database tells them."""
    with database.reading() as connection:
        seen = inspect(connection)
        return {
            table: (
                sorted((column["name"], str(column["type"]), column["nullable"]) for column in seen.get_columns(table)),
                sorted((str(index["name"]), tuple(map(str, index["column_names"]))) for index in seen.get_indexes(table)),
                sorted(str(key["name"]) for key in seen.get_foreign_keys(table)),
                sorted(str(key["name"]) for key in seen.get_unique_constraints(table)),
            )
            for table in seen.get_table_names()
            if table != VERSION_TABLE
        }


def test_the_newest_revision_is_the_schema(database: Database) -> None:
    go(database, REVISIONS[-1])
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert current(connection) == REVISIONS[-1]


def test_every_revision_can_be_left_downwards_and_reached_again(database: Database) -> None:
    shapes = []
    for revision in REVISIONS:
        go(database, revision)
        shapes.append(shape(database))
    for before, revision in reversed(list(zip([{}, *shapes], [BASE, *REVISIONS[:-1]], strict=False))):
        go(database, revision)
        assert shape(database) == before, revision
    for expected, revision in zip(shapes, REVISIONS, strict=True):
        go(database, revision)
        assert shape(database) == expected, revision


def test_jobs_and_datasets_survive_the_way_down_to_the_first_revision_and_back(store: JobStore, store_url: str) -> None:
    # A lifetime would be lost on the way.
    kept, _ = store.add_dataset(dataset(name="naïve.csv", kept_seconds=None))
    asked = store.submit(job(labels={"team": "blue"}, parameters={"a": [1, None]}, retention=None)).job
    database = Database(store_url)
    go(database, REVISIONS[0])
    go(database, REVISIONS[-1])
    database.close()
    assert store.get_job(asked.tenant, asked.id) == asked
    assert store.list_jobs(asked.tenant, labels=[("team", "blue")])[0] == [replace(asked, queue_position=None)]
    assert store.get_dataset(kept.tenant, kept.id) == kept


def test_receipts_of_before_they_named_ids_are_read_and_their_numbers_kept(store: JobStore, store_url: str) -> None:
    ran = store.submit(job(retention=None)).job
    claimed = store.claim(worker="wrk_test", lane=Lane.JOBS, disk_budget_bytes=2**60)
    assert claimed is not None
    final = store.finish(claimed, outcome(), SigningKey("0a" * 32).sign(erasure(claimed)))
    assert final.erasure is not None
    database = Database(store_url)
    go(database, "0003")
    go(database, REVISIONS[-1])
    database.close()
    unknown = {"worker": None, "container_id": None, "began_at": None, "key": None, "signature": None}
    assert store.get_job(ran.tenant, ran.id) == replace(final, erasure=replace(final.erasure, **unknown))


def test_a_step_that_fails_leaves_the_schema_as_it_was(database: Database) -> None:
    go(database, REVISIONS[0])
    before = shape(database)
    with contextlib.suppress(RuntimeError), database.migrating() as connection:
        upgrade(connection)
        raise RuntimeError("half way")
    assert shape(database) == before
    with database.reading() as connection:
        assert current(connection) == REVISIONS[0]


def test_a_schema_of_a_newer_version_is_refused_and_not_touched(store: JobStore, store_url: str) -> None:
    database = Database(store_url)
    with database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(Misconfigured, match=f"is revision 9999; this version of the service knows 0001 to {REVISIONS[-1]}"):
        store.migrate()
    with database.migrating() as connection:
        with pytest.raises(Misconfigured):
            downgrade(connection, BASE)
        with pytest.raises(Misconfigured):
            check_known(connection)
        assert current(connection) == "9999"
    database.close()


def test_a_revision_that_is_none_is_refused(database: Database) -> None:
    with pytest.raises(Misconfigured, match="there is no revision '0000'"), database.migrating() as connection:
        downgrade(connection, "0000")


def test_the_operator_brings_the_schema_down_and_up_by_hand(home: Path) -> None:
    store = JobStore(f"sqlite:///{home}/fumehood.db")
    store.migrate()
    store.close()

    def by_hand(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "fumehood.migrations", *arguments]
        done = subprocess.run(command, cwd=ROOT, env={"FUMEHOOD_HOME": str(home)}, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.strip() or done.stderr.strip()

    newest = REVISIONS[-1]
    assert by_hand() == (0, newest)
    assert by_hand("0001") == (0, f"{newest} → 0001")
    assert by_hand("head") == (0, f"0001 → {newest}")
    assert by_hand("9999") == (2, f"usage: python -m fumehood.migrations [REVISION]; the revisions are {', '.join(REVISIONS)} (head)")
