"""What a host must be able to do before sandboxes run on it, and what it may lack."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worker import runtimes
from worker.isolation import Host

API_VERSION_MIN = (1, 41)
# What distributions give a user in /etc/subuid.
MAPPED_IDS = 65_536
MAPPING = ("name=userns", "name=rootless")
# Without these a script could take the machine; without the others, `Host.weaker` says what is lost.
INDISPENSABLE = {"MemoryLimit": "memory limits", "PidsLimit": "process limits", "CpuCfsQuota": "CPU limits"}


def capabilities(info: Mapping[str, Any], *, runtime: str) -> Host:
    """`info` is the engine's description of itself."""
    return Host(
        runtime=runtime,
        cpus=int(info.get("NCPU") or 0),
        # With cgroup v2 every engine has them; with v1 it says nothing, and the kernel decides.
        private_cgroup_namespace=str(info.get("CgroupVersion")) == "2" or Path("/proc/self/ns/cgroup").exists(),
        swap_limit=bool(info.get("SwapLimit")),
    )


def problems_of_engine(version: Mapping[str, Any], info: Mapping[str, Any], *, runtime: str) -> Iterator[str]:
    api = str(version.get("ApiVersion", "0.0"))
    if tuple(int(part) for part in api.split(".")) < API_VERSION_MIN:
        yield f"the engine's API has version {api}; expected at least {'.'.join(map(str, API_VERSION_MIN))}"
    known = info.get("Runtimes") or {}
    if runtime in known:
        yield from runtimes.problems(runtime, known[runtime] or {})
    else:
        yield f"the engine knows no runtime {runtime}; it knows {', '.join(sorted(known))}"
    if not any("seccomp" in option for option in info.get("SecurityOptions") or []):
        yield "the engine has no seccomp; expected system call filters"
    for key, what in INDISPENSABLE.items():
        if not info.get(key):
            yield f"the engine has no {what} on this kernel"


def problems_of_user_ids(info: Mapping[str, Any], *, runtime: str, last: int) -> Iterator[str]:
    """`last` is the highest user id of a sandbox. An engine that maps user ids has only so many, and does not say how many."""
    if not any(option.startswith(MAPPING) for option in info.get("SecurityOptions") or []):
        return
    if last >= MAPPED_IDS:
        yield f"the engine maps user ids, and sandboxes have them up to {last}; expected a last one below {MAPPED_IDS} (sandbox_uid_first)"
    if not runtimes.family(runtime).starts_mapped:
        yield f"the engine maps user ids, with which the runtime {runtime} starts no container; expected one of the two"


def problems_of_home(home: Path) -> Iterator[str]:
    """A blob is linked into a scratch, never copied, so both must lie on one mount."""
    directories = (home / "blobs", home / "scratch")
    probe = f".probe-{secrets.token_hex(8)}"
    try:
        for directory in directories:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directories[0] / probe).touch(mode=0o400)
        os.link(directories[0] / probe, directories[1] / probe)
    except OSError as error:
        yield f"blobs cannot be linked into the scratch ({error.strerror}); expected both on one mount, owned by the worker"
    finally:
        for directory in directories:
            with contextlib.suppress(OSError):
                (directory / probe).unlink()
