"""Rules 23–26 and the edge case «Places»."""

from __future__ import annotations

OK = "\ndef azureml_main(df=None):\n    import pandas\n    return pandas.DataFrame({'a': [1]})\n"


def test_only_the_working_directory_and_shared_memory_are_writable(sandbox):
    script = """
import os, tempfile
assert os.getcwd() == os.environ["HOME"] == os.path.expanduser("~") == "/job"
assert tempfile.gettempdir() == "/job/tmp"
for path in ("here", "~/there", "/job/tmp/x", "/dev/shm/x"):
    open(os.path.expanduser(path), "w").write("x")
for path in ("/x", "/tmp/x", "/in/x", "/out/x", "/var/tmp/x", "/opt/fumehood/x", "/etc/x", "/in/script.py"):
    try: open(path, "w"); print("writable", path)
    except OSError: pass
for change in (os.unlink, lambda path: os.rename(path, "/job/moved"), lambda path: os.symlink("/job", path + "2")):
    try: change("/out/report.json"); print("changed")
    except OSError: pass
"""
    run = sandbox.run(script + OK)
    assert (run.reason, run.log) == ("ok", "")


def test_hashes_time_zone_encoding_and_threads_are_fixed(sandbox):
    script = """
import os, sys, time, locale
assert os.listdir("/proc/1/task") == ["1"]  # A process that forks has one thread.
print(hash("a"), time.tzname[0], sys.getfilesystemencoding(), locale.getpreferredencoding(), open("x", "w").encoding)
print(*(os.environ[name] for name in ("PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TZ")))
import numpy, pyarrow, threadpoolctl
numpy.ones((300, 300)) @ numpy.ones((300, 300))
import scipy.linalg, sklearn.cluster
print(pyarrow.cpu_count(), sorted({pool["num_threads"] for pool in threadpoolctl.threadpool_info()}))
print([name for name in os.environ if "FUMEHOOD" in name.upper() or name.startswith("JE_") or name == "HOSTNAME"])
"""
    one, two = sandbox.run(script + OK), sandbox.run(script + OK, cpus=1.5)
    first, *others = one.log.splitlines()
    assert first.lower().split()[1:] == ["utc", "utf-8", "utf-8", "utf-8"]
    assert first == two.log.splitlines()[0]
    assert others == ["0 1 1 UTC", "1 [1]", "[]"]
    assert two.log.splitlines()[1:] == ["0 2 2 UTC", "2 [2]", "[]"]


def test_loopback_and_shared_memory_work_inside_one_sandbox(sandbox):
    script = """
import asyncio, multiprocessing.shared_memory, socket
a, b = socket.socketpair(); a.send(b"x"); assert b.recv(1) == b"x"
server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname())
block = multiprocessing.shared_memory.SharedMemory(create=True, size=1000); block.close(); block.unlink()
assert asyncio.run(asyncio.sleep(0, 5)) == 5
"""
    run = sandbox.run(script + OK)
    assert run.reason == "ok", run.report


def test_ordinary_signals_subprocesses_and_threads_behave_as_anywhere(sandbox):
    script = """
import concurrent.futures, os, signal, subprocess, sys, time
try:
    os.kill(os.getpid(), signal.SIGINT); time.sleep(1); print("not interrupted")
except KeyboardInterrupt:
    pass
assert subprocess.run(["sh", "-c", "exit 4"]).returncode == 4
assert subprocess.run([sys.executable, "-c", "import pandas; print(pandas.__name__)"], capture_output=True, text=True).stdout == "pandas\\n"
pid = os.fork()
if pid == 0: os._exit(9)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
with concurrent.futures.ThreadPoolExecutor(4) as pool: assert sum(pool.map(abs, range(10))) == 45
assert sys.stdin.read() == ""
assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
"""
    run = sandbox.run(script + OK)
    assert (run.reason, run.log) == ("ok", ""), run.report


def test_what_the_runner_tries_before_there_is_a_job_leaves_nothing(sandbox):
    script = """
import os, sys, warnings
print(sorted(os.path.relpath(os.path.join(at, name), "/job") for at, names, files in os.walk("/job") for name in names + files))
print(os.listdir("/dev/shm"), os.listdir("/proc/self/task") == [str(os.getpid())], [n for n in sys.modules if "<" in n])
print(sorted(os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")))
"""
    run = sandbox.run(script + OK)
    assert run.log.splitlines() == [
        str([".\\Script Bundle", ".config", ".config/matplotlib", "Script Bundle", "script.py", "tmp"]),
        "[] True []",
        "['/dev/null', 'pipe', 'pipe', 'pipe']",
    ]


def test_libraries_come_from_the_pack_and_nobody_can_tell(sandbox):
    script = """
import marshal, sys
tops = ("pandas", "pyarrow", "numpy")
ours = {name for name, module in sys.modules.items() if name.split(".")[0] in tops and module.__spec__.name == name}
packed = marshal.load(open("/opt/fumehood/imports.marshal", "rb"))
print(len(packed) > 500, sorted(ours - set(packed)), sorted(set(packed) - set(sys.modules)))
import inspect, pandas
print(type(pandas.__loader__).__name__, sorted(vars(pandas.__loader__)), [hook for hook in sys.meta_path if type(hook).__name__ == "Pack"])
print(inspect.getsource(pandas.DataFrame.head).strip().splitlines()[1])
"""
    run = sandbox.run(script + OK)
    packed, loader, source = run.log.splitlines()
    assert packed == "True [] []"
    assert loader == "SourceFileLoader ['name', 'path'] []"
    assert source.strip().startswith("def head(")
