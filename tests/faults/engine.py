"""An engine of the tests' own: containerd and dockerd that may be killed, frozen and started again, beside the machine's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.stand import descendants
from tests.services import missing, until

START_SECONDS = 60.0
LOAD_SECONDS = 600.0
STOP_SECONDS = 40.0
WARNINGS = ["--log-level", "warn"]
# Sandboxes have no network, so that this engine needs none either. It gets a network namespace of its own: told to make no bridge,
# an engine removes the one it finds under the usual name, which would be the machine's.
ALONE = ["unshare", "--net", "--"]
OPTIONS = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--userland-proxy=false"]


class Daemon:
    """A process with a log. What it starts itself may outlive it: that is the engine's own affair, and part of what is tried."""

    def __init__(
        self, name: str, command: list[str], directory: Path, *, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._command, self._cwd, self._environment = command, cwd, environment
        self._log_path = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def ended(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.ended()

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")[-3000:] if self._log_path.exists() else ""


class PrivateEngine:
    """`address` is its socket. It keeps its images and containers in `directory` (short: a socket's path has at most 107 bytes)."""

    def __init__(self, directory: Path, *, options: tuple[str, ...] = (), inside: tuple[str, ...] = ()) -> None:
        """`inside` is a command that both are started with: one that puts them into namespaces."""
        containerd, dockerd = _program("containerd"), _program("dockerd")
        self.address = f"unix://{directory}/docker.sock"
        self._directory = directory
        self._starting = threading.Lock()
        self._sockets = directory / "containerd.sock", directory / "docker.sock"
        where = ["--root", str(directory / "c"), "--state", str(directory / "s"), "--address", str(self._sockets[0])]
        self.containerd = Daemon("containerd", [*inside, containerd, *WARNINGS, *where], directory)
        where = ["--data-root", str(directory / "d"), "--exec-root", str(directory / "e"), "--pidfile", str(directory / "pid")]
        options = ("--host", self.address, "--containerd", str(self._sockets[0]), *where, *OPTIONS, *options)
        self.dockerd = Daemon("dockerd", [*inside, *ALONE, dockerd, *WARNINGS, *options], directory)

    def start(self) -> None:
        """Returns when it answers."""
        until(self._answers, seconds=START_SECONDS, what=f"dockerd answers; its log ends with {self.dockerd.log()}")

    def keep(self) -> None:
        """Start what of it is not running; dockerd waits for containerd by itself."""
        with self._starting:
            if not self.containerd.alive:
                self._sockets[0].unlink(missing_ok=True)
                self.containerd.start()
            if not self.dockerd.alive and self._sockets[0].exists():
                # Of one that was killed; the number in it may be another process's by now, for which a new dockerd would wait.
                (self._directory / "pid").unlink(missing_ok=True)
                self.dockerd.start()

    def docker(self, *arguments: str, seconds: float = 60) -> list[str]:
        done = subprocess.run(["docker", "--host", self.address, *arguments], capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.split()

    def load(self, image: str) -> None:
        """Take an image over from the machine's engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            command = ["docker", "--host", self.address, "load", "--quiet"]
            subprocess.run(command, stdin=saving.stdout, capture_output=True, timeout=LOAD_SECONDS, check=True)
        assert saving.returncode == 0, f"docker save {image} ended with {saving.returncode}"

    def derive(self, image: str) -> str:
        """The id of another image of the same layers, which may be hidden without the engine throwing those away."""
        asked = subprocess.run(
            ["docker", "--host", self.address, "build", "--quiet", "-"],
            input=f"FROM {image}\nLABEL derived=yes\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert asked.returncode == 0, asked.stderr
        return asked.stdout.strip()

    def hide(self, image: str) -> Callable[[], None]:
        """As if the image had been removed. What is returned brings it back."""
        digest = image.removeprefix("sha256:")
        records = self._directory / "d/image/overlay2/imagedb/content"

        def move(source: Path, target: Path) -> None:
            with self._starting:
                self.dockerd.kill()
                source.rename(target)
            self.start()

        move(records / "sha256" / digest, records / digest)
        return lambda: move(records / digest, records / "sha256" / digest)

    def stop(self) -> None:
        """In order, so that nothing stays mounted; what will not stop is killed."""
        for daemon in (self.dockerd, self.containerd):
            daemon.signal(signal.SIGCONT)
            daemon.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                daemon.ended()
            daemon.kill()
        for left in _processes_of(self._directory):
            _kill(left)
        for mounted in sorted(_mounts_below(self._directory), key=len, reverse=True):
            subprocess.run(["umount", "--lazy", mounted], capture_output=True, timeout=30, check=False)

    def _answers(self) -> bool:
        self.keep()
        command = ["docker", "--host", self.address, "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0


@contextmanager
def private_engine(image: str, *, options: tuple[str, ...] = (), inside: tuple[str, ...] = ()) -> Iterator[PrivateEngine]:
    """One that runs and has `image`; nothing of it stays."""
    directory = Path(tempfile.mkdtemp(prefix="fh-engine-"))
    directory.chmod(0o711)  # An engine that maps user ids starts containers as somebody else.
    engine = PrivateEngine(directory, options=options, inside=inside)
    try:
        engine.start()
        engine.load(image)
        yield engine
        engine.start()  # a test may have left it dead
        for container in engine.docker("ps", "--all", "--quiet"):
            engine.docker("rm", "--force", "--volumes", container)
    finally:
        engine.stop()
        shutil.rmtree(directory)


def _program(name: str) -> str:
    return shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") or missing(f"no {name} on this machine")


def _mounts_below(directory: Path) -> list[str]:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{directory}/")]


def _processes_of(directory: Path) -> list[int]:
    """Keepers of containers that have outlived the engine, and what runs in their containers."""
    keepers = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{directory}/".encode() in path.read_bytes():
                keepers.append(int(path.parent.name))
    return [inner for keeper in keepers for inner in (*descendants(keeper), keeper)]


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
