"""A workbench for the runner: one sandbox per run, as the worker would start it, and nothing more.

No product code is used: this is the other side of docs/wall.md in a hundred lines.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

MEBI = 1024 * 1024
OUT_FILES = ("result.arrow", "result2.arrow", "report.json", "files.bin", "log")
LIMITS = {
    "wall_seconds": 60, "memory_bytes": 1024 * MEBI, "cpus": 1.0, "disk_bytes": 256 * MEBI, "processes": 128,
    "output_bytes": 256 * MEBI, "log_bytes": 1 * MEBI, "figures": 200, "bundle_entries": 10_000,
    "bundle_unpacked_bytes": 500 * MEBI,
}  # fmt: skip
SHM_BYTES = 64 * MEBI


def engine_options(name: str, home: Path, limits: dict, full: tuple[str, ...] = ()) -> list[str]:
    """Every option of the engine, in one place. The real policy is the worker's; this one is only as tight as tests need."""
    sources = {file: "/dev/full" if file in full else f"{home}/out/{file}" for file in OUT_FILES}
    outputs = [f"--mount=type=bind,src={source},dst=/out/{file}" for file, source in sources.items()]
    return [
        f"--name={name}", "--interactive", "--network=none", "--read-only", "--user=64321:64321", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", "--log-driver=none", "--ipc=private",
        f"--memory={limits['memory_bytes']}", f"--memory-swap={limits['memory_bytes']}", f"--cpus={limits['cpus']}",
        f"--pids-limit={limits['processes']}", "--ulimit=core=0", "--ulimit=nofile=1024:1024",
        f"--tmpfs=/job:rw,nosuid,nodev,exec,uid=64321,gid=64321,nr_inodes=50000,size={limits['disk_bytes']}",
        f"--tmpfs=/dev/shm:rw,nosuid,nodev,mode=1777,size={SHM_BYTES}",
        f"--mount=type=bind,src={home}/in,dst=/in,readonly", *outputs,
    ]  # fmt: skip


@dataclass
class Run:
    """What one sandbox left."""

    home: Path
    report: dict | None
    events: list[dict]
    exit_code: int
    wall_seconds: float
    log: str = field(default="")

    @property
    def reason(self) -> str | None:
        return self.report["reason"] if self.report else None

    def table(self, name: str = "result"):
        """The result as a `pyarrow.Table`."""
        import pyarrow as pa

        with pa.OSFile(str(self.home / "out" / f"{name}.arrow")) as file:
            return pa.ipc.open_file(file).read_all()

    def frame(self, name: str = "result"):
        return self.table(name).to_pandas()

    def file(self, name: str) -> bytes:
        """The bytes of a figure or artifact."""
        entry = next(entry for entry in self.report["files"] if entry["name"] == name)
        return (self.home / "out" / "files.bin").read_bytes()[entry["offset"] :][: entry["bytes"]]

    def names(self, role: str) -> list[str]:
        return [entry["name"] for entry in self.report["files"] if entry["role"] == role]

    def notes(self, kind: str) -> list[str]:
        return [note["text"] for note in self.report["notes"] if note["kind"] == kind]


class Bench:
    """Runs requests, each in a container of its own, and removes everything at the end."""

    def __init__(self, image: str, directory: Path, runner: str | None = None):
        self._image = image
        self._directory = directory
        self._runner = runner

    def run(
        self, script: str | bytes = "", *, inputs: dict | None = None, parameters: dict | None = None, kind: str = "script",
        target_format: str | None = None, before_end=None, wait_seconds: float | None = None,
        expires_seconds: float | None = None, full: tuple[str, ...] = (), home: Path | None = None, more: dict | None = None,
        prepared: bool = False, **limits: float,
    ) -> Run:  # fmt: skip
        """Run one request and wait for its end.

        `inputs`: port → (format, bytes). `before_end(process)` is called after the go line, with the engine's client.
        `wait_seconds`: never send the go line; the sandbox may wait so long. `full`: outputs without room for a byte.
        `home`: a directory for its files. `more`: further fields of the request. `prepared`: the script is opened first, by a line of
        its own.
        """
        home = self._lay_out(
            home or self._directory / uuid.uuid4().hex[:12], script, inputs or {}, LIMITS | limits, parameters, kind, target_format, more,
            prepared,
        )  # fmt: skip
        limits = LIMITS | limits
        name = f"fumehood-bench-{uuid.uuid4().hex[:12]}"
        mount = [f"--mount=type=bind,src={self._runner},dst=/opt/fumehood/runner,readonly"] if self._runner else []
        wait = [f"--env=FUMEHOOD_WAIT_SECONDS={wait_seconds}"] if wait_seconds is not None else []
        command = ["docker", "run", *engine_options(name, home, limits, full), *mount, *wait, self._image]
        began_at = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # A sandbox that says nothing must not hold the tests.
        guard = threading.Timer(limits["wall_seconds"] + 30, process.kill)
        guard.start()
        try:
            expires_seconds = expires_seconds or limits["wall_seconds"] + 25
            go = None if wait_seconds is not None else go_line(limits, expires_seconds)
            events = self._talk(process, [prepare_line(limits), go] if prepared else [go], before_end)
            process.stdin.close()
            exit_code = process.wait()
            errors = process.stderr.read().decode()
        finally:
            guard.cancel()
            process.kill()
            process.wait()
            subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
            for stream in (process.stdin, process.stdout, process.stderr):
                stream.close()
        if errors:
            print(errors)
        text = (home / "out" / "report.json").read_bytes()
        assert len(text) <= MEBI + 8192 * len((more or {}).get("items", ()))
        return Run(
            home=home, report=json.loads(text) if text else None, events=events, exit_code=exit_code,
            wall_seconds=time.monotonic() - began_at, log=(home / "out" / "log").read_bytes().decode("utf-8", "replace"),
        )  # fmt: skip

    def _talk(self, process: subprocess.Popen, lines: list[bytes | None], before_end) -> list[dict]:
        """Lines out, one where the sandbox waits, events in, until `done` or the end."""
        events = []
        for line in process.stdout:
            events.append(json.loads(line) | {"at": time.monotonic()})
            if events[-1]["event"] == "done":
                break
            if events[-1]["event"] in ("ready", "prepared") and (line := lines.pop(0)):
                process.stdin.write(line)
                process.stdin.flush()
                if before_end and not lines:
                    before_end(process)
        return events

    def _lay_out(self, home: Path, script, inputs: dict, limits: dict, parameters, kind, target_format, more, prepared: bool) -> Path:
        (home / "in").mkdir(parents=True)
        (home / "out").mkdir()
        for file in OUT_FILES:
            (home / "out" / file).touch()
            (home / "out" / file).chmod(0o666)
        request = {
            "version": 1, "kind": kind, "limits": limits, "inputs": {port: {"format": form} for port, (form, _) in inputs.items()},
        }  # fmt: skip
        if parameters is not None:
            request["parameters"] = parameters
        if target_format is not None:
            request["target_format"] = target_format
        request |= more or {}
        ahead = {"version": 1, "limits": limits, "inputs": {port: form for port, form in request["inputs"].items() if port == "bundle"}}
        files = {"prepare.json": json.dumps(ahead).encode()} if prepared else {}
        files |= {"request.json": json.dumps(request).encode(), "script.py": script.encode() if isinstance(script, str) else script}
        files |= {"bundle.zip" if port == "bundle" else port: data for port, (_, data) in inputs.items()}
        for name, data in files.items():
            (home / "in" / name).write_bytes(data)
            (home / "in" / name).chmod(0o444)
        # The engine runs as root and the sandbox as nobody: the way to the files must be open here.
        for directory in (home / "in", home / "out", home):
            directory.chmod(0o755)
        return home

    def clean(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def prepare_line(limits: dict) -> bytes:
    return b"%s\n" % json.dumps({"prepare": 1, **bounds(limits)}).encode()


def go_line(limits: dict, expires_seconds: float) -> bytes:
    return b"%s\n" % json.dumps({"go": 1, **bounds(limits), "expires_seconds": expires_seconds}).encode()


def bounds(limits: dict) -> dict:
    return {
        "wall_seconds": limits["wall_seconds"], "log_bytes": limits["log_bytes"],
        "file_bytes": max(limits["output_bytes"], limits["disk_bytes"]),
    }  # fmt: skip


def has_engine() -> bool:
    return shutil.which("docker") is not None and os.access("/var/run/docker.sock", os.W_OK)
