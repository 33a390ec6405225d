"""Settings: the only reader of the environment. The reference of the docs is made of it (docs/reference/settings.md)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fumehood.addresses import Allowed
from fumehood.errors import FumehoodError, Misconfigured
from fumehood.limits import CEILING, GIB, MIB, REQUESTABLE, Limits
from fumehood.quota import Defaults, Quota, Retention

RETRIES_MAX = 20
RETRY_SECONDS_MAX = 7 * 86_400


class Settings(BaseSettings):
    """Read from `FUMEHOOD_<NAME>`; a secret also from the file named by `FUMEHOOD_<NAME>_FILE`."""

    model_config = SettingsConfigDict(env_prefix="FUMEHOOD_", env_nested_delimiter="__", extra="ignore", frozen=True)

    home: Path = Field(
        Path("/var/lib/fumehood"),
        description="Directory of the database, the blobs and the scratch; one mount, at the same path on the host and in the worker.",
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy address of the job store, without its password; SQLite inside `home` when not set."
    )
    database_password: SecretStr | None = Field(None, description="Password of the job store.")
    database_password_file: Path | None = Field(None, description="File that holds the password of the job store.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Address of Redis, without its password.")
    redis_password: SecretStr | None = Field(None, description="Password of Redis.")
    redis_password_file: Path | None = Field(None, description="File that holds the password of Redis.")
    bootstrap_key: SecretStr | None = Field(None, description="Key of the first tenant, made when the API starts.")
    bootstrap_key_file: Path | None = Field(None, description="File that holds the key of the first tenant.")

    receipt_key: SecretStr | None = Field(
        None, description="Ed25519 key (64 hexadecimal digits) with which workers sign erasure receipts; without one they are not signed."
    )
    receipt_key_file: Path | None = Field(None, description="File that holds the key of the receipts; only workers need it.")

    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8765, ge=1, le=65535, description="Port the API listens on.")
    dataset_bytes: int = Field(4 * GIB, gt=0, description="Largest dataset, in bytes.")
    bundle_bytes: int = Field(100 * MIB, gt=0, description="Largest script bundle, in bytes.")
    script_bytes: int = Field(1 * MIB, gt=0, description="Largest script, in bytes.")
    document_bytes: int = Field(4 * MIB, gt=0, description="Largest JSON request, in bytes.")
    errand_wait_seconds: float = Field(
        30.0, gt=0, description="How long a request waits for a sandbox that describes or converts a dataset."
    )
    idempotency_hours: float = Field(24.0, gt=0, description="How long an idempotency key is remembered.")
    body_idle_seconds: float = Field(
        60.0, gt=0, description="A client that sends nothing of a request, or takes nothing of an answer, for so long is dropped."
    )
    connections_max: int = Field(
        1024, ge=16, le=65536, description="Connections to the API at once; above, the one that was idle for longest is closed."
    )

    image: str | None = Field(None, description="Digest (`sha256:…`) of the image that sandboxes run; tags are refused.")
    image_python: str = Field(
        "3.13", description="Python version inside the image; scripts are checked before queueing only by a service on at least this one."
    )
    docker_host: str = Field("unix:///var/run/docker.sock", description="Address of the Docker engine.")
    gate_socket: Path | None = Field(
        None, description="Socket that the gate listens on; a worker behind the gate has its address as `docker_host`."
    )
    runtime: str = Field("runc", description="Container runtime of the sandboxes.")
    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256, description="Jobs a worker runs at once.")
    warm_min: int = Field(1, ge=0, le=256, description="Sandboxes that wait for jobs even when none have come for long; about 75 MB each.")
    warm_max: int = Field(
        default_factory=lambda: 2 * (os.cpu_count() or 1), ge=0, le=256, description="Sandboxes that wait for jobs at most; 0 for none."
    )
    warm_idle_seconds: float = Field(60.0, gt=0, description="A sandbox beyond `warm_min` waits for each job of the last so many seconds.")
    prepared_max: int = Field(
        2, ge=0, le=256, description="Sandboxes that wait with a called script open at most, each with its own limits' memory; 0: none."
    )
    errand_slots: int = Field(1, ge=1, le=64, description="Describing and converting sandboxes a worker runs at once.")
    # Above 2^30, past what accounts, subordinate ids of rootless containers (/etc/subuid) and systemd's containers are given.
    sandbox_uid_first: int = Field(1_879_048_192, ge=1000, description="First of the user ids that sandboxes run as, one each.")
    sandbox_uid_count: int = Field(4096, ge=1, description="How many user ids there are.")
    attempts_max: int = Field(
        3, ge=1, le=10, description="How often a job is started at most; a start that an orderly shutdown hands back is not counted."
    )
    beat_seconds: float = Field(1.0, gt=0, description="How often a worker renews the lease of a running job, and looks for a cancel.")
    lease_seconds: float = Field(10.0, gt=0, description="A lease that was not renewed for so long is taken away.")
    reap_seconds: float = Field(3.0, gt=0, description="How often a worker looks for overdue jobs, orphans and lost tickets.")
    grace_seconds: float = Field(10.0, ge=0, description="After SIGTERM: how long running jobs may still end before they are handed back.")
    engine_seconds: float = Field(30.0, gt=0, description="Longest wait for one answer of the Docker engine.")
    disk_floor_bytes: int = Field(1 * GIB, ge=0, description="Free space below which no new work is taken.")

    webhook_allow: str | None = Field(
        None,
        description="Networks (`10.1.0.0/16`) and hosts (`hooks.local`, `*.example.com`) that webhooks may be sent to beside the internet, "
        "with commas between; a host whatever its name resolves to.",
    )
    webhook_ca_file: Path | None = Field(
        None, description="Certificates (PEM) that webhooks' receivers are trusted by, beside the usual ones; in `config/` of the home."
    )
    webhook_retry_seconds: str = Field(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        description="Pauses after each try of a webhook that failed; after the last one it is given up. Up to a fifth longer, by chance.",
    )
    webhook_seconds: float = Field(15.0, gt=0, le=60, description="Longest time that one try of a webhook may take.")
    webhook_slots: int = Field(32, ge=1, le=256, description="Webhooks that a courier sends at once; at most 4 of one tenant.")
    webhook_log_days: float = Field(14.0, gt=0, description="How long it is kept what came of a webhook, after it was sent or given up.")

    limits: Limits = Field(default_factory=Limits, description="Limits of a job that names none; `FUMEHOOD_LIMITS` is a JSON object.")
    ceiling: Limits = Field(CEILING, description="Highest limits that a job may ask for; `FUMEHOOD_CEILING` is a JSON object.")
    quota: Quota = Field(
        default_factory=Quota, description="Quota of a tenant that has none of its own; `FUMEHOOD_QUOTA` is a JSON object."
    )
    retention: Retention = Field(
        default_factory=Retention, description="How long things are kept; `FUMEHOOD_RETENTION` is a JSON object, a tenant may differ."
    )
    metrics_open: bool = Field(False, description="Whether `GET /metrics` answers without a key.")
    otlp_endpoint: str | None = Field(
        None,
        description="Address of an OpenTelemetry collector (OTLP over HTTP, such as `http://127.0.0.1:4318`); none: nothing is traced.",
    )
    otlp_share: float = Field(1.0, ge=0, le=1, description="Share of traces that are told, of those that no caller began.")
    audit_days: float = Field(365.0, ge=1, le=36_500, description="How long the audit log remembers; its last day stays in any case.")
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = Field(
        "info", description="Least severe log event that is written."
    )

    @field_validator("image")
    @classmethod
    def _image_is_a_digest(cls, value: str | None) -> str | None:
        digest = (value or "").removeprefix("sha256:")
        if value and not (value.startswith("sha256:") and len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
            raise ValueError(f"image is {value!r}; expected sha256: and 64 hexadecimal digits, because a tag can change its meaning")
        return value or None

    @field_validator("database_url")
    @classmethod
    def _address_without_password(cls, value: str | None) -> str | None:
        if value and urlsplit(value).password:
            raise ValueError(
                "database_url holds a password; expected it in database_password or database_password_file, which are never logged"
            )
        return value or None

    @field_validator("webhook_allow")
    @classmethod
    def _allowed_are_networks_and_hosts(cls, value: str | None) -> str | None:
        Allowed.of(_listed(value))
        return value or None

    @field_validator("webhook_retry_seconds")
    @classmethod
    def _pauses_are_few_and_short(cls, value: str) -> str:
        pauses = [float(each) for each in _listed(value)]
        if len(pauses) > RETRIES_MAX or not all(0 < pause <= RETRY_SECONDS_MAX for pause in pauses):
            raise ValueError(f"expected at most {RETRIES_MAX} numbers of seconds, each above 0 and at most {RETRY_SECONDS_MAX:,}")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector_is_an_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment):
            raise ValueError("otlp_endpoint is no plain address; expected http://host:port or https://host:port, without a user")
        return value or None

    @field_validator("ceiling", mode="before")
    @classmethod
    def _named_ceilings_change_no_others(cls, value: object) -> object:
        return CEILING.as_dict() | value if isinstance(value, dict) else value

    @field_validator("quota", "retention", mode="before")
    @classmethod
    def _what_is_not_named_stays_as_it_is(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, dict):
            return value
        built_in = (Quota() if info.field_name == "quota" else Retention()).as_dict()
        strange = sorted(set(value) - set(built_in))
        if strange:
            raise ValueError(f"there is no {strange[0]!r}; expected {', '.join(built_in)}")
        ceiling = value.get("ceiling")
        return built_in | value | ({"ceiling": built_in["ceiling"] | ceiling} if isinstance(ceiling, dict) else {})

    @model_validator(mode="after")
    def _check_against_each_other(self) -> Settings:
        if self.lease_seconds < 3 * self.beat_seconds:
            raise ValueError(f"lease_seconds is {self.lease_seconds}; expected at least three times beat_seconds, {self.beat_seconds}")
        if self.warm_min > self.warm_max:
            raise ValueError(f"warm_min is {self.warm_min}; expected at most warm_max, {self.warm_max}")
        if not self.home.is_absolute():
            raise ValueError(f"home is {self.home}; expected an absolute path")
        above = [name for name in REQUESTABLE if getattr(self.limits, name) > getattr(self.ceiling, name)]
        if above:
            told = ", ".join(f"{name} is {getattr(self.limits, name):,}, its ceiling {getattr(self.ceiling, name):,}" for name in above)
            raise ValueError(f"a job that names no limits would be above the ceiling: {told}; expected no default above its ceiling")
        return self

    @property
    def webhook_allowed(self) -> Allowed:
        return Allowed.of(_listed(self.webhook_allow))

    @property
    def webhook_pauses_seconds(self) -> tuple[float, ...]:
        return tuple(float(each) for each in _listed(self.webhook_retry_seconds))

    @property
    def tenant_defaults(self) -> Defaults:
        return Defaults(quota=self.quota, retention=self.retention, ceiling=self.ceiling)

    @property
    def store_url(self) -> str:
        """The address of the job store with its password. Never log it."""
        if not self.database_url:
            return f"sqlite:///{self.home / 'fumehood.db'}"
        return with_password(self.database_url, self.secret("database_password"))

    def secret(self, name: str) -> str | None:
        """The secret `name` (`redis_password`, `receipt_key`, …), from its value or else its file; or None."""
        value: SecretStr | None = getattr(self, name)
        if value is not None:
            return value.get_secret_value()
        path: Path | None = getattr(self, f"{name}_file")
        return path.read_text().strip() if path is not None else None


def _listed(text: str | None) -> list[str]:
    return [each.strip() for each in (text or "").split(",") if each.strip()]


def with_password(address: str, password: str | None) -> str:
    if not password:
        return address
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def read(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` win over the environment.

    Raises:
        Misconfigured: one line for each wrong setting, without its value: that may be a secret.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [
            f"setting {'.'.join(map(str, problem['loc'])) or 'together'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise Misconfigured("\n".join(lines)) from None
    except FumehoodError as error:  # A value of `limits` or `ceiling` that no run can have, or of the others.
        raise Misconfigured(f"setting limits, ceiling, quota or retention: {error}") from None
