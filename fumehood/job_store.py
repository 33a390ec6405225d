"""JobStore: the lifecycle verbs, each one transaction. The row is the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fumehood.dataset import Dataset
from fumehood.job import Job, Lane
from fumehood.outcome import Erasure, Outcome
from fumehood.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key and the SHA-256 (hex) of the request it stands for."""

    key: str
    request_sha256: str


@dataclass(frozen=True, slots=True)
class Submitted:
    job: Job
    replayed: bool
    """True where the idempotency key was known: `job` is then the first one, and nothing was stored."""


@dataclass(frozen=True, slots=True)
class Lease:
    cancel_requested: bool


class JobStore:
    """SQLAlchemy 2 (Core) over SQLite (WAL, synchronous=FULL, BEGIN IMMEDIATE, busy_timeout) or PostgreSQL.

    Safe to share between threads. Every call raises `StoreUnavailable` when the database does not answer.
    """

    def __init__(self, url: str) -> None:
        raise NotImplementedError

    def migrate(self) -> None:
        """Bring the schema to the newest revision (Alembic); safe when several processes start at once."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def ping(self) -> None: ...

    # tenants and keys ------------------------------------------------------------------------------------------------
    def ensure_tenant(self, name: str, key: str) -> Tenant:
        """The tenant called `name`, made if absent, with `key` as one of its keys (stored hashed)."""
        raise NotImplementedError

    def tenant_of_key(self, key: str) -> Tenant | None:
        raise NotImplementedError

    # jobs: the front desk ----------------------------------------------------------------------------------------------
    def submit(self, job: Job, *, idempotency: Idempotency | None = None) -> Submitted:
        """Insert a queued job, and the idempotency key, in one transaction.

        Raises:
            IdempotencyReuse: the key stands for another request.
            BadRequest: an input dataset or job output was deleted meanwhile.
        """
        raise NotImplementedError

    def find_idempotent(self, tenant: str, idempotency: Idempotency) -> Job | None:
        """The job that this key made, if it is remembered. Raises IdempotencyReuse as `submit` does."""
        raise NotImplementedError

    def get_job(self, tenant: str, job_id: str) -> Job:
        """With `queue_position` while queued. Errands are found too (the API asks for its own). Raises NotFound."""
        raise NotImplementedError

    def list_jobs(
        self, tenant: str, *, state: str | None = None, label: tuple[str, str] | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[Job], str | None]:
        """Newest first, scripts only; the second value is the cursor (opaque) of the next page. Raises BadRequest on a bad cursor."""
        raise NotImplementedError

    def request_cancel(self, tenant: str, job_id: str) -> Job:
        """A queued job ends as cancelled at once (nothing was ever created: its receipt names no container); a running
        one is marked. Asking twice is fine. Raises NotFound; Conflict where the job is final."""
        raise NotImplementedError

    def delete_job(self, tenant: str, job_id: str) -> Job:
        """Forget a final job. Raises NotFound; Conflict while it is not final, or while a job that is not final reads its output."""
        raise NotImplementedError

    # jobs: the workshop ------------------------------------------------------------------------------------------------
    def claim(self, *, worker: str, lane: Lane, disk_budget_bytes: int) -> Job | None:
        """The next job of `lane`: queued → running, attempt + 1, fence + 1, beat 0, in one statement; first come first served.

        None where there is nothing eligible, or where the next job's `limits.reserved_bytes` exceed the budget.
        """
        raise NotImplementedError

    def name_sandbox(self, job: Job, *, sandbox: str, scratch: str) -> Job:
        """Record what this attempt is about to create. Raises LeaseLost."""
        raise NotImplementedError

    def renew(self, job: Job) -> Lease:
        """beat + 1. Raises LeaseLost where `job.fence` is not the row's any more, or the job is final."""
        raise NotImplementedError

    def finish(self, job: Job, outcome: Outcome, erasure: Erasure) -> Job:
        """running → final, in one atomic step. Raises LeaseLost."""
        raise NotImplementedError

    def give_back(self, job: Job, erasure: Erasure, outcome: Outcome, *, beat: int | None = None, count_attempt: bool = True) -> Job:
        """End an attempt that was nobody's fault but the service's: running → queued (at the front of its lane, fence + 1),
        or final with `outcome` when `attempts_max` is reached, or cancelled when a cancel was requested.

        `beat`: only if the row's beat still is this one (the reaper's compare-and-set). `count_attempt=False` (a worker that
        shuts down in order) gives the attempt back too. Raises LeaseLost.
        """
        raise NotImplementedError

    def running(self) -> list[Job]:
        """Every running job, all tenants: what the reaper looks at."""
        raise NotImplementedError

    def queued(self, lane: Lane) -> int:
        raise NotImplementedError

    # datasets ----------------------------------------------------------------------------------------------------------
    def add_dataset(self, dataset: Dataset) -> tuple[Dataset, bool]:
        """Insert, or the tenant's existing dataset with the same bytes and format. The flag says whether it is new."""
        raise NotImplementedError

    def find_dataset(self, tenant: str, *, sha256: str, format: str) -> Dataset | None:
        raise NotImplementedError

    def get_dataset(self, tenant: str, dataset_id: str) -> Dataset:
        raise NotImplementedError

    def list_datasets(self, tenant: str, *, before: str | None = None, limit: int = 50) -> tuple[list[Dataset], str | None]:
        raise NotImplementedError

    def delete_dataset(self, tenant: str, dataset_id: str) -> Dataset:
        """Raises NotFound; Conflict while a job that is not final needs it."""
        raise NotImplementedError

    # workers -----------------------------------------------------------------------------------------------------------
    def worker_beat(self, worker: str, facts: dict[str, Any]) -> None:
        """Upsert a worker's row: image digest, slots, whether it is ready and if not, why."""
        raise NotImplementedError

    def workers(self, *, seen_within_seconds: float) -> list[dict[str, Any]]:
        raise NotImplementedError

    def forget_worker(self, worker: str) -> None:
        raise NotImplementedError
