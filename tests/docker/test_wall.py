"""What the design builds on: facts about the engine, the kernel and the file system, each against the real ones."""

from __future__ import annotations

import errno
import inspect as inspection
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from fumehood.limits import KIB, MIB
from tests.sandboxes import ROOT, SMALL, Wall
from tests.services import until
from worker import isolation

READ_LINE = "import sys; sys.stdin.readline()\n"


def bind(source: Path, target: str) -> dict[str, object]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": False, "BindOptions": {"Propagation": "rprivate"}}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory that any uid may write, below parents that any uid may walk."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o777)
    return directory


# files and mounts -----------------------------------------------------------------------------------------------------


def test_two_binds_of_one_file_system_refuse_a_hard_link(wall: Wall, shared: Path) -> None:
    for name in ("blobs", "scratch"):
        (shared / name).mkdir()
        (shared / name).chmod(0o777)
    code = """
        import json, os
        open("/blobs/a", "w").close()
        def link(target):
            try: os.link("/blobs/a", target)
            except OSError as error: return error.errno
            return 0
        print(json.dumps([link("/scratch/a"), link("/blobs/b")]))
    """
    mounts = (bind(shared / "blobs", "/blobs"), bind(shared / "scratch", "/scratch"))
    assert wall.say(code, mounts=mounts) == [errno.EXDEV, 0]


def test_a_link_keeps_the_mode_so_a_0600_blob_is_closed_to_the_sandbox(wall: Wall, tmp_path: Path) -> None:
    code = (
        READ_LINE
        + """
import json
def read(name):
    try: return open("/in/" + name).read()
    except OSError as error: return error.errno
print(json.dumps([read("closed"), read("open")]))
"""
    )
    with wall.open(code) as naked:
        for name, mode in (("closed", 0o600), ("open", 0o444)):
            blob = wall.home / f"blob-{name}"
            blob.write_text(name)
            blob.chmod(mode)
            os.link(blob, naked.scratch.inside / name)
            blob.unlink()
        naked.send("go")
        assert json.loads(naked.line()) == [errno.EACCES, "open"]


def test_a_file_placed_after_the_start_is_seen_inside(wall: Wall) -> None:
    code = READ_LINE + 'print(open("/in/late").read())\n'
    with wall.open(code) as naked:
        (naked.scratch.inside / "late").write_text("placed")
        naked.send("go")
        assert naked.line() == "placed"


def test_recreating_the_input_directory_after_the_start_detaches_it(wall: Wall) -> None:
    code = READ_LINE + 'import os; print(os.listdir("/in"))\n'
    with wall.open(code) as naked:
        naked.scratch.inside.rmdir()
        naked.scratch.inside.mkdir()
        (naked.scratch.inside / "late").write_text("placed")
        naked.send("go")
        assert naked.line() == "[]"


def test_inputs_are_read_only_and_outputs_can_only_be_written(wall: Wall) -> None:
    code = """
        import errno, json, os
        def tried(action):
            try: action()
            except OSError as error: return errno.errorcode[error.errno]
            return "done"
        print(json.dumps({
            "create in": tried(lambda: open("/in/x", "w")),
            "unlink": tried(lambda: os.unlink("/out/log")),
            "replace by a link": tried(lambda: os.symlink("/etc/passwd", "/out/x")),
            "rename over": tried(lambda: os.rename("/out/log", "/out/files.bin")),
            "create beside": tried(lambda: os.mkfifo("/out/fifo")),
            "chmod": tried(lambda: os.chmod("/out/log", 0o777)),
            "write": tried(lambda: open("/out/log", "w").write("x")),
            "root": tried(lambda: open("/x", "w")),
            "tmp": tried(lambda: open("/tmp/x", "w")),
            "packages": tried(lambda: open(os.__file__, "a")),
        }))
    """
    said = wall.say(code)
    assert said["write"] == "done"
    assert {key: value for key, value in said.items() if value not in ("EROFS", "EPERM", "EACCES")} == {"write": "done"}
    assert said["unlink"] in ("EROFS", "EBUSY")


def test_writing_an_output_past_the_cap_is_refused(wall: Wall) -> None:
    code = """
        import json, os
        def write(path, bytes):
            try:
                with open(path, "wb", buffering=0) as file: file.seek(bytes - 1); file.write(b"x")
            except OSError as error: return error.errno
            return os.stat(path).st_size
        print(json.dumps([write("/out/files.bin", CAP), write("/out/files.bin", CAP + 1)]))
    """
    said = wall.say(code.replace("CAP", str(SMALL.file_bytes)))
    assert said == [SMALL.file_bytes, errno.EFBIG]


def test_a_tmpfs_is_bounded_in_bytes_and_inodes_and_both_together_are_disk_bytes(wall: Wall) -> None:
    code = """
        import json, os
        def fill(directory):
            written = 0
            try:
                with open(directory + "/full", "wb", buffering=0) as file:
                    while True: written += file.write(bytes(65536))
            except OSError as error: reason = error.errno
            os.unlink(directory + "/full")
            return [written, reason]
        def crowd(directory):
            count = 0
            try:
                while True:
                    os.close(os.open(f"{directory}/{count}", os.O_CREAT | os.O_WRONLY)); count += 1
            except OSError as error: return [count, error.errno]
        print(json.dumps([fill("/job"), fill("/dev/shm"), crowd("/dev/shm"), os.statvfs("/job").f_files]))
    """
    job, shm, inodes, job_inodes = wall.say(code)
    assert job[1] == shm[1] == inodes[1] == errno.ENOSPC
    assert job_inodes == isolation.JOB_INODES + SMALL.disk_bytes // (32 * KIB)
    assert (job[0], shm[0]) == isolation.tmpfs_sizes(SMALL)
    assert job[0] + shm[0] == SMALL.disk_bytes
    assert inodes[0] == isolation.SHM_INODES - 1


def test_sqlite_works_between_two_containers_of_one_uid_and_refuses_another(wall: Wall, shared: Path) -> None:
    database = shared / "jobs.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE job (writer INTEGER)")
    connection.close()
    for path in shared.iterdir():
        os.chown(path, 300_001, 300_001)
        path.chmod(0o644)
    code = """
        import json, sqlite3
        connection = sqlite3.connect("/shared/jobs.db", timeout=20, isolation_level=None)
        try:
            for _ in range(100):
                connection.execute("BEGIN IMMEDIATE"); connection.execute("INSERT INTO job VALUES (1)"); connection.execute("COMMIT")
        except sqlite3.OperationalError as error: print(json.dumps(str(error)))
        else: print(json.dumps("committed"))
    """
    mounts = (bind(shared, "/shared"),)
    with wall.open(code, uid=300_001, mounts=mounts) as one, wall.open(code, uid=300_001, mounts=mounts) as other:
        assert [json.loads(one.rest()), json.loads(other.rest())] == ["committed", "committed"]
    assert wall.say(code, uid=300_002, mounts=mounts) == "attempt to write a readonly database"
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (200,)
    connection.close()


# limits ---------------------------------------------------------------------------------------------------------------


def test_a_raw_update_changes_memory_processors_and_processes_of_a_running_container(wall: Wall) -> None:
    limits = {"Memory": 512 * MIB, "MemorySwap": 512 * MIB, "NanoCpus": 500_000_000, "PidsLimit": 33}
    ulimits = [{"Name": "nofile", "Soft": 99, "Hard": 99}]
    code = READ_LINE + "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    with wall.open(code) as naked:
        url = wall.client._url("/containers/{0}/update", naked.name)
        answer = wall.client._post_json(url, data=limits | {"Ulimits": ulimits})
        assert answer.status_code == 200
        actual = naked.inspect()["HostConfig"]
        assert {key: actual[key] for key in limits} == limits
        naked.send("go")
        assert naked.line() == str(isolation.NOFILE), "an update of ulimits is ignored without a word"


def test_the_clients_own_update_knows_neither_processors_nor_processes(wall: Wall) -> None:
    known = set(inspection.signature(wall.client.update_container).parameters)
    assert "mem_limit" in known
    assert not known & {"nano_cpus", "pids_limit"}


def test_the_client_has_no_keyword_for_masked_paths(wall: Wall) -> None:
    known = set(inspection.signature(docker.types.HostConfig.__init__).parameters)
    assert "security_opt" in known
    assert not known & {"masked_paths", "readonly_paths"}


def test_masked_paths_are_empty_and_proc_sys_is_read_only(wall: Wall) -> None:
    code = """
        import json, os
        def seen(path):
            try: return len(os.listdir(path)) if os.path.isdir(path) else len(open(path, "rb").read(100))
            except OSError: return 0
        def write(path):
            try: open(path, "w").write("x")
            except OSError as error: return error.errno
        print(json.dumps([{path: seen(path) for path in PATHS if seen(path)}, write("/proc/sys/kernel/core_pattern")]))
    """
    shown, refused = wall.say(code.replace("PATHS", repr(isolation.MASKED_PATHS)))
    assert shown == {}
    assert refused in (errno.EROFS, errno.EACCES)
    # Without the list of ours, at least something of it is there to be seen.
    shown, _ = wall.say(code.replace("PATHS", repr(isolation.MASKED_PATHS)), host_config={"MaskedPaths": []})
    assert "/proc/interrupts" in shown


def test_a_child_killed_for_memory_leaves_exit_0_and_oomkilled(wall: Wall) -> None:
    code = """
        import os
        child = os.fork()
        if child == 0:
            hoard = []
            while True: hoard.append(b"x" * 2**22)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    with wall.open(code) as naked:
        assert naked.rest().strip() == "-9"
        state = naked.state()
    assert (state["ExitCode"], state["OOMKilled"]) == (0, True)


def test_a_first_process_killed_for_memory_leaves_exit_137_and_oomkilled(wall: Wall) -> None:
    with wall.open("hoard = []\nwhile True: hoard.append(b'x' * 2**22)") as naked:
        state = naked.state()
    assert (state["ExitCode"], state["OOMKilled"]) == (137, True)


def test_a_kill_and_a_chosen_exit_code_look_the_same(wall: Wall) -> None:
    with wall.open("import os; os._exit(137)") as naked:
        chosen = naked.state()
    with wall.open("import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()") as naked:
        naked.line()
        wall.client.kill(naked.name, "SIGKILL")
        killed = naked.state()
    assert (chosen["ExitCode"], chosen["OOMKilled"]) == (killed["ExitCode"], killed["OOMKilled"]) == (137, False)


def test_a_file_in_a_tmpfs_larger_than_the_memory_limit_ends_as_an_oom_kill(wall: Wall) -> None:
    code = "with open('/job/x', 'wb') as file:\n  while True: file.write(bytes(2**20))"
    tmpfs = {"/job": f"rw,size={512 * MIB},uid=300005"}
    limits = replace(SMALL, memory_bytes=128 * MIB, output_bytes=512 * MIB)
    with wall.open(code, limits=limits, uid=300_005, host_config={"Tmpfs": tmpfs}) as naked:
        state = naked.state()
    assert (state["ExitCode"], state["OOMKilled"]) == (137, True)


def test_processes_and_threads_are_counted_per_container_and_refused_with_eagain(wall: Wall) -> None:
    code = """
        import json, os, signal
        children = []
        try:
            while True:
                child = os.fork()
                if child == 0: signal.pause()
                children.append(child)
        except OSError as error: print(json.dumps([len(children), error.errno]))
    """
    assert wall.say(code, limits=replace(SMALL, processes=16)) == [15, errno.EAGAIN]


# processes ------------------------------------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
from fumehood.settings import Settings
from tests.sandboxes import SMALL
from worker.docker_sandbox import DockerHost
from worker.sandbox import StopSignal
from worker.scratch import Scratch
home = Path(sys.argv[1])
host = DockerHost(Settings(home=home, image=sys.argv[2]), worker_id="doomed")
scratch = Scratch.create(home, worker="doomed")
sandbox = host.prepare(scratch, SMALL)
assert sandbox.make_ready(StopSignal())
print(sandbox.name, flush=True)
sys.stdin.read()
"""


def test_a_container_stops_within_a_second_of_its_workers_death_and_stays_in_the_list(wall: Wall) -> None:
    command = [sys.executable, "-c", WORKER, str(wall.home), wall.image]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as worker:
        assert worker.stdout is not None
        name = worker.stdout.readline().strip()
        try:
            assert wall.client.inspect_container(name)["State"]["Running"]
            worker.kill()
            worker.wait()
            state = until(lambda: ended(wall, name), seconds=1.0, what="the container of a killed worker to stop")
            assert state["ExitCode"] == 3, "the supervisor saw the end of its stdin"
        finally:
            worker.kill()
            wall.client.remove_container(name, force=True)
            for leftover in (wall.home / "scratch").glob(name.removeprefix("fumehood-")):
                subprocess.run(["rm", "-r", str(leftover)], check=True)


def ended(wall: Wall, name: str) -> dict[str, object] | None:
    state: dict[str, object] = wall.client.inspect_container(name)["State"]
    return None if state["Running"] else state


INTRUDER = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
if not DUMPABLE: libc.prctl(4, 0, 0, 0, 0)
def tried(action):
    try: action()
    except OSError as error: return error.errno
    return "done"
def trace():
    if libc.ptrace(16, 1, 0, 0): raise OSError(ctypes.get_errno(), "ptrace")  # PTRACE_ATTACH
def touch():
    with open("/proc/1/mem", "r+b", buffering=0): pass
child = os.fork()
if child == 0:
    # What a child inherits is set back for itself; the first process stays closed.
    libc.prctl(4, 1, 0, 0, 0)
    own = tried(lambda: os.listdir("/proc/self/fd"))
    said = {"mem": tried(touch), "fd": tried(lambda: os.listdir("/proc/1/fd")), "environ": tried(lambda: open("/proc/1/environ").read()),
            "ptrace": tried(trace), "own": own}
    print(json.dumps(said)); os._exit(0)
os.waitpid(child, 0)
"""


def test_a_child_of_the_same_uid_cannot_reach_into_a_first_process_that_is_not_dumpable(wall: Wall) -> None:
    said = wall.say(INTRUDER.replace("DUMPABLE", "False"))
    assert said.pop("own") == "done"
    assert set(said.values()) <= {errno.EACCES, errno.EPERM}, said


def test_a_dumpable_first_process_is_open_to_its_child(wall: Wall) -> None:
    """Were it otherwise, the test above would prove nothing. ptrace is refused all the same, by the system call filter."""
    assert wall.say(INTRUDER.replace("DUMPABLE", "True")) == {
        "mem": "done",
        "fd": "done",
        "environ": "done",
        "ptrace": errno.EPERM,
        "own": "done",
    }


def test_containers_of_one_uid_share_inotify_instances_and_others_do_not(wall: Wall) -> None:
    hold = "import ctypes; libc = ctypes.CDLL(None)\nwhile libc.inotify_init() >= 0: pass\nprint('full', flush=True)\ninput()\n"
    ask = "import ctypes; print(int(ctypes.CDLL(None).inotify_init() >= 0))"
    with wall.open(hold, uid=300_003) as holder:
        assert holder.line() == "full"
        assert wall.say(ask, uid=300_003) == 0
        assert wall.say(ask, uid=300_004) == 1


# what a sandbox looks like from inside --------------------------------------------------------------------------------


def test_the_kernel_confirms_the_policy_from_inside(wall: Wall) -> None:
    code = """
        import json, os, resource
        status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
        mounts = {line.split()[1]: line.split()[3].split(",") for line in open("/proc/mounts")}
        print(json.dumps({
            "status": {key: status[key] for key in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp", "Uid")},
            "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in ("CORE", "FSIZE", "NOFILE", "MEMLOCK")},
            "mounts": {path: mounts[path] for path in ("/", "/job", "/dev/shm", "/in")},
            "interfaces": os.listdir("/sys/class/net"),
            "environment": sorted(os.environ),
            "host": os.uname().nodename,
            "cgroup": open("/proc/self/cgroup").read(),
            "oom": int(open("/proc/self/oom_score_adj").read()),
            "processes": [name for name in os.listdir("/proc") if name.isdigit()],
        }))
    """
    said = wall.say(code)
    none = "0" * 16
    uid = said["status"].pop("Uid").split()
    assert said["status"] == {"CapEff": none, "CapPrm": none, "CapBnd": none, "NoNewPrivs": "1", "Seccomp": "2"}
    assert len(set(uid)) == 1
    assert int(uid[0]) >= wall.settings.sandbox_uid_first
    assert said["limits"]["CORE"] == [0, 0]
    assert said["limits"]["FSIZE"] == [SMALL.file_bytes] * 2
    assert said["limits"]["NOFILE"] == [isolation.NOFILE] * 2
    assert "ro" in said["mounts"]["/"]
    assert "ro" in said["mounts"]["/in"]
    assert {"nosuid", "nodev"} <= set(said["mounts"]["/job"])
    assert {"nosuid", "nodev", "noexec"} <= set(said["mounts"]["/dev/shm"])
    assert said["interfaces"] == ["lo"]
    assert not [
        name
        for name in said["environment"]
        if "PROXY" in name.upper() or "SECRET" in name or "FUMEHOOD" in name.replace("FUMEHOOD_WAIT_SECONDS", "")
    ]
    assert said["host"] == "sandbox"
    assert {line.rpartition(":")[2] for line in said["cgroup"].splitlines()} == {"/"}, "a private cgroup namespace"
    assert said["oom"] == isolation.ISOLATION["OomScoreAdj"]
    assert said["processes"] == ["1"]


def test_the_engine_runs_exactly_what_the_literal_says_and_nothing_beyond_it(wall: Wall) -> None:
    with wall.open("input()") as naked:
        inspected = naked.inspect()
    assert isolation.deviations(inspected, config=naked.config, host_config=naked.host_config) == []
    beyond = {
        key: value
        for key, value in inspected["HostConfig"].items()
        if key not in naked.host_config and value not in (None, "", 0, [], {}, False)
    }
    assert beyond.pop("ConsoleSize", None) in (None, [0, 0])
    assert beyond == {}


def test_there_is_no_network_but_loopback_and_it_fails_at_once(wall: Wall) -> None:
    code = """
        import errno, json, socket, time
        def tried(action):
            try: action()
            except OSError as error: return errno.errorcode.get(error.errno, "name")
            return "done"
        def connect(family, address):
            with socket.socket(family, socket.SOCK_STREAM) as s: s.settimeout(5); s.connect(address)
        def loopback():
            with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()): pass
        began = time.monotonic()
        print(json.dumps({
            "v4": tried(lambda: connect(socket.AF_INET, ("192.0.2.1", 80))),
            "v6": tried(lambda: connect(socket.AF_INET6, ("2001:db8::1", 80))),
            "dns": tried(lambda: socket.getaddrinfo("example.org", 80)),
            "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
            "vsock": tried(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
            "packet": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
            "raw": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
            "ping": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)),
            "loopback": tried(loopback),
            "quick": time.monotonic() - began < 2,
        }))
    """
    said = wall.say(code)
    assert said.pop("v4") == "ENETUNREACH"
    assert said.pop("v6") in ("ENETUNREACH", "EADDRNOTAVAIL")
    assert said == {
        "dns": "name",
        "netlink": "EPERM",
        "vsock": "EPERM",
        "packet": "EPERM",
        "raw": "EPERM",
        "ping": "EPERM",
        "loopback": "done",
        "quick": True,
    }
