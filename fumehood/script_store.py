"""Scripts in the job store: published with their check in one transaction, read, deleted where nothing needs them. Whoever changes
anything below a script's name has the script's row, so that numbers, aliases and versions fit together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from fumehood import fair_share
from fumehood.errors import Conflict, IdempotencyReuse, NotFound
from fumehood.holdings import check_job, check_stored
from fumehood.job import Job
from fumehood.moves import accept
from fumehood.needs import needs_of
from fumehood.pages import read_page
from fumehood.records import Records
from fumehood.rows import job_to_row
from fumehood.schema import IDEMPOTENCY, JOB_NEEDS, SCRIPT_ALIASES, SCRIPT_VERSIONS, SCRIPTS
from fumehood.script import VERSIONS_MAX, VERSIONS_OF_TENANT_MAX, Alias, Script, Target, Version, VersionState
from fumehood.script_rows import alias_from_row, select_versions, version_from_row, version_to_row


class Scripts(Records):
    """The part of `JobStore` that knows hosted scripts."""

    def publish(self, version: Version, check: Job, *, key: str | None = None, request_sha256: str = "") -> tuple[Version, bool]:
        """Insert a version under the next number of its script, which is made where it is the first, and the job that checks it, in one
        transaction. The flag is True where the idempotency key was known: the version is then the first one, and nothing was stored.

        Raises:
            IdempotencyReuse: the key stands for another request.
            Conflict: the script has as many versions as it may have.
            QuotaExceeded: as `submit` does.
        """
        now = version.created_at or self._clock()
        with self._database.writing() as connection:
            if key is not None and (first := self._take_version_key(connection, version, key, request_sha256)) is not None:
                return first, True
            quota = self._admit(connection, version.tenant)
            made = {"tenant": version.tenant, "name": version.script, "created_at": now, "numbers": 0}
            self._database.insert_or_get(connection, SCRIPTS, made, unique=("tenant", "name"))
            script = find_script(connection, version.tenant, version.script, lock=True)
            of_tenant = connection.execute(_count(SCRIPT_VERSIONS.c.tenant == version.tenant)).scalar_one()
            if of_tenant >= VERSIONS_OF_TENANT_MAX:
                raise Conflict(f"the tenant has {of_tenant:,} versions of scripts, which is the limit; delete some of them")
            there = connection.execute(_count(SCRIPT_VERSIONS.c.script == script.seq)).scalar_one()
            if there >= VERSIONS_MAX:
                raise Conflict(f"the script has {there:,} versions, which is the limit; delete some of them")
            number = script.numbers + 1
            connection.execute(update(SCRIPTS).where(SCRIPTS.c.seq == script.seq).values(numbers=number))
            version = replace(version, number=number, job=check.id, created_at=now)
            connection.execute(insert(SCRIPT_VERSIONS).values(version_to_row(version) | {"script": script.seq}))
            connection.execute(accept(), job_to_row(check) | {"created_at": now})
            fair_share.joined(connection, check.tenant, check.kind.lane.value)
            connection.execute(insert(JOB_NEEDS), needs_of(check))
            # First: of the check's own bytes there are none yet, and it would say that the tenant held the version's before.
            check_stored(connection, version.tenant, quota, stored=version.stored_bytes, now=now)
            check_job(connection, check, quota, now=now)
            self._note(connection, f"{version.script}/{number}")
            return version, False

    def find_idempotent_version(self, tenant: str, key: str, request_sha256: str) -> Version | None:
        """The version that this key made, if it is remembered. Raises IdempotencyReuse."""
        kept = IDEMPOTENCY.c.created_at > self._oldest_key_at()
        remembered = select(IDEMPOTENCY).where(IDEMPOTENCY.c.tenant == tenant, IDEMPOTENCY.c.key == key, kept)
        with self._database.reading() as connection:
            known = connection.execute(remembered).one_or_none()
            return None if known is None else _first(connection, known, request_sha256)

    def get_script(self, tenant: str, name: str) -> Script:
        """Raises NotFound."""
        with self._database.reading() as connection:
            return _script(connection, find_script(connection, tenant, name))

    def list_scripts(self, tenant: str, *, before: str | None = None, limit: int = 50) -> tuple[list[Script], str | None]:
        """Newest first; the second value is the cursor (opaque) of the next page. Raises BadRequest on a bad cursor."""
        run = [(SCRIPTS.c.tenant, tenant)]
        with self._database.reading() as connection:
            rows, cursor = read_page(connection, select(SCRIPTS), run=run, seq=SCRIPTS.c.seq, before=before, limit=limit, documents=[])
            return [_script(connection, row) for row in rows], cursor

    def get_version(self, tenant: str, name: str, number: int) -> Version:
        """Raises NotFound."""
        with self._database.reading() as connection:
            return version_from_row(find_version(connection, find_script(connection, tenant, name), number))

    def get_version_by_id(self, tenant: str, version_id: str) -> Version:
        """Raises NotFound."""
        with self._database.reading() as connection:
            return _by_id(connection, tenant, version_id)

    def list_versions(self, tenant: str, name: str, *, before: str | None = None, limit: int = 50) -> tuple[list[Version], str | None]:
        """Newest first; the second value is the cursor (opaque) of the next page. Raises NotFound; BadRequest on a bad cursor."""
        documents: list[Any] = [SCRIPT_VERSIONS.c[each] for each in ("inputs", "parameters", "schemas", "error")]
        with self._database.reading() as connection:
            script = find_script(connection, tenant, name)
            run = [(SCRIPT_VERSIONS.c.script, script.seq)]
            query, seq = select_versions(), SCRIPT_VERSIONS.c.number
            rows, cursor = read_page(connection, query, run=run, seq=seq, before=before, limit=limit, documents=documents)
        return [version_from_row(row) for row in rows], cursor

    def delete_version(self, tenant: str, name: str, number: int) -> Version:
        """Raises NotFound; Conflict while an alias names it, or while a job that has not ended needs it."""
        try:
            with self._database.writing() as connection:
                script = find_script(connection, tenant, name, lock=True)
                version = version_from_row(find_version(connection, script, number))
                named = [alias.name for alias in aliases_of(connection, script) if number in {target.number for target in alias.targets}]
                if named:
                    raise Conflict(f"version {number} is named by the alias {', '.join(named)}; move the alias first")
                _forget_keys(connection, tenant, [version.id])
                connection.execute(delete(SCRIPT_VERSIONS).where(SCRIPT_VERSIONS.c.id == version.id))
                self._note(connection, f"{name}/{number}")
                return version
        except IntegrityError as error:  # the foreign key of job_needs
            raise Conflict(f"version {number} is needed by a job that has not ended; cancel the job or wait for its end") from error

    def delete_script(self, tenant: str, name: str) -> list[str]:
        """With its versions, whose ids are returned, and its aliases. Raises NotFound; Conflict while a job that has not ended needs it."""
        try:
            with self._database.writing() as connection:
                script = find_script(connection, tenant, name, lock=True)
                versions = list(connection.execute(select(SCRIPT_VERSIONS.c.id).where(SCRIPT_VERSIONS.c.script == script.seq)).scalars())
                _forget_keys(connection, tenant, versions)
                for table in (SCRIPT_ALIASES, SCRIPT_VERSIONS):
                    connection.execute(delete(table).where(table.c.script == script.seq))
                connection.execute(delete(SCRIPTS).where(SCRIPTS.c.seq == script.seq))
                self._note(connection, name)
                return versions
        except IntegrityError as error:  # the foreign key of job_needs
            raise Conflict(f"a version of {name} is needed by a job that has not ended; cancel the job or wait for its end") from error

    def _take_version_key(self, connection: Connection, version: Version, key: str, request_sha256: str) -> Version | None:
        """Take the idempotency key for `version`. The first version where it was taken before."""
        here = (IDEMPOTENCY.c.tenant == version.tenant, IDEMPOTENCY.c.key == key)
        connection.execute(delete(IDEMPOTENCY).where(*here, IDEMPOTENCY.c.created_at <= self._oldest_key_at()))
        values = {"tenant": version.tenant, "key": key, "request_sha256": request_sha256, "job_id": version.id, "created_at": self._clock()}
        known = self._database.insert_or_get(connection, IDEMPOTENCY, values, unique=("tenant", "key"))
        return None if known.job_id == version.id else _first(connection, known, request_sha256)

    def _oldest_key_at(self) -> float:
        raise NotImplementedError


# rows --------------------------------------------------------------------------------------------------------------------


def find_script(connection: Connection, tenant: str, name: str, *, lock: bool = False) -> Row[Any]:
    query = select(SCRIPTS).where(SCRIPTS.c.tenant == tenant, SCRIPTS.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"there is no script {name!r}")
    return row


def find_version(connection: Connection, script: Row[Any], number: int) -> Row[Any]:
    one = select_versions().where(SCRIPT_VERSIONS.c.script == script.seq, SCRIPT_VERSIONS.c.number == number)
    row = connection.execute(one).one_or_none()
    if row is None:
        raise NotFound(f"the script {script.name} has no version {number}")
    return row


def latest_of(connection: Connection, script: Row[Any]) -> int | None:
    """Number of its newest version that is ready."""
    ready = (SCRIPT_VERSIONS.c.script == script.seq, SCRIPT_VERSIONS.c.state == VersionState.READY.value)
    number: int | None = connection.execute(select(func.max(SCRIPT_VERSIONS.c.number)).where(*ready)).scalar_one()
    return number


def aliases_of(connection: Connection, script: Row[Any]) -> list[Alias]:
    """Those that are stored, by name."""
    stored = select(SCRIPT_ALIASES).where(SCRIPT_ALIASES.c.script == script.seq).order_by(SCRIPT_ALIASES.c.name)
    return [alias_from_row(row) for row in connection.execute(stored)]


def require_ready(connection: Connection, script: Row[Any], targets: tuple[Target, ...]) -> list[tuple[int, str]]:
    """Where in `targets` there is a version that cannot be called, and why."""
    numbers = [target.number for target in targets]
    known = select(SCRIPT_VERSIONS.c.number, SCRIPT_VERSIONS.c.state).where(
        SCRIPT_VERSIONS.c.script == script.seq, SCRIPT_VERSIONS.c.number.in_(numbers)
    )
    states = {row.number: row.state for row in connection.execute(known)}
    wrong = []
    for place, number in enumerate(numbers):
        if number not in states:
            wrong.append((place, f"there is no version {number}"))
        elif states[number] != VersionState.READY.value:
            wrong.append((place, f"version {number} is {states[number]}; expected one that is ready"))
    return wrong


def _count(which: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(SCRIPT_VERSIONS).where(which)


def _script(connection: Connection, row: Row[Any]) -> Script:
    count = connection.execute(_count(SCRIPT_VERSIONS.c.script == row.seq)).scalar_one()
    return Script(name=row.name, created_at=row.created_at, latest=latest_of(connection, row), versions=int(count))


def _by_id(connection: Connection, tenant: str, version_id: str) -> Version:
    one = select_versions().where(SCRIPT_VERSIONS.c.id == version_id, SCRIPT_VERSIONS.c.tenant == tenant)
    row = connection.execute(one).one_or_none()
    if row is None:
        raise NotFound(f"there is no version {version_id!r}")
    return version_from_row(row)


def _first(connection: Connection, known: Row[Any], request_sha256: str) -> Version:
    if known.request_sha256 != request_sha256:
        raise IdempotencyReuse("the idempotency key was used with another request; use a new key for a new request")
    return _by_id(connection, known.tenant, known.job_id)


def _forget_keys(connection: Connection, tenant: str, versions: list[str]) -> None:
    # One by one: of many at once SQLite would rather read all keys of the tenant.
    one = delete(IDEMPOTENCY).where(IDEMPOTENCY.c.job_id == bindparam("of_version"), IDEMPOTENCY.c.tenant == bindparam("of_tenant"))
    if versions:
        connection.execute(one, [{"of_version": version, "of_tenant": tenant} for version in versions])
