"""What ordinary scripts do, each once: must work behind the system call filter. Runs inside a sandbox."""

# ruff: noqa: S602, PTH116, PTH211 (as people write it)

import asyncio
import ctypes
import fcntl
import mmap
import multiprocessing
import os
import pathlib
import pty
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import shared_memory

import numpy as np
import pandas as pd


def square(x):
    return x * x


def pandas_and_pyarrow():
    import pyarrow.compute as pc
    import pyarrow.feather as feather
    import pyarrow.parquet as parquet

    frame = pd.DataFrame({"k": np.arange(100_000) % 7, "v": np.random.default_rng(0).normal(size=100_000)})
    feather.write_feather(frame, "t.feather")
    frame.to_parquet("t.parquet")
    table = feather.read_table("t.feather", memory_map=True)
    assert parquet.read_table("t.parquet").num_rows == table.num_rows == 100_000
    assert pc.count_distinct(table["k"]).as_py() == 7
    assert len(frame.groupby("k").agg({"v": "mean"})) == 7
    matrix = np.random.default_rng(0).normal(size=(300, 300))
    assert np.allclose(matrix @ np.linalg.inv(matrix), np.eye(300), atol=1e-6)


def processes():
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(20)) == [x * x for x in range(20)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
    with multiprocessing.Manager() as manager:
        assert manager.dict(a=1)["a"] == 1
    queue = multiprocessing.Queue()
    child = multiprocessing.Process(target=queue.put, args=("hello",))
    child.start()
    assert queue.get(timeout=20) == "hello"
    child.join()
    with multiprocessing.Lock(), multiprocessing.Semaphore():
        pass


def shared():
    block = shared_memory.SharedMemory(create=True, size=4096)
    block.buf[:5] = b"hello"
    other = shared_memory.SharedMemory(block.name)
    assert bytes(other.buf[:5]) == b"hello"
    other.close()
    block.close()
    block.unlink()


def loky():
    from joblib import Parallel, delayed

    assert Parallel(n_jobs=2)(delayed(square)(x) for x in range(10)) == [x * x for x in range(10)]
    assert Parallel(n_jobs=2, prefer="threads")(delayed(square)(x) for x in range(4)) == [0, 1, 4, 9]


def threads():
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(square, range(100))) == sum(x * x for x in range(100))
    timer = threading.Timer(0.01, lambda: None)
    timer.start()
    timer.join()


def loops():
    async def main():
        server = await asyncio.start_server(lambda r, w: w.close(), "localhost", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port)
        assert await reader.read() == b""
        writer.close()
        server.close()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=-1)
        assert (await process.communicate())[0] == b"1\n"
        assert await asyncio.to_thread(square, 3) == 9

    asyncio.run(main())


def programs():
    assert subprocess.run("echo $((1+1)) | cat", shell=True, capture_output=True, text=True, check=True).stdout == "2\n"
    assert os.system("true") == 0
    assert os.popen("uname").read() == "Linux\n"
    pid, fd = os.forkpty()
    if pid == 0:
        os._exit(0)
    os.close(fd)
    os.waitpid(pid, 0)


def terminals():
    said = bytearray()

    def read(fd):
        said.extend(data := os.read(fd, 1024))
        return data

    assert pty.spawn(["sh", "-c", "tty; stty size; stty raw; echo done"], read) == 0
    assert b"/dev/pts/" in said
    assert b"done" in said
    ours, theirs = os.openpty()
    assert os.isatty(theirs)
    assert os.ptsname(ours).startswith("/dev/pts/")
    before = termios.tcgetattr(theirs)
    tty.setraw(theirs)
    termios.tcsetattr(theirs, termios.TCSADRAIN, before)
    termios.tcflush(theirs, termios.TCIOFLUSH)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    assert os.get_terminal_size(theirs) == (90, 30)
    os.close(theirs)
    os.close(ours)


def descriptors():
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    assert struct.unpack("i", fcntl.ioctl(reading, termios.FIONREAD, bytes(4))) == (5,)
    fcntl.ioctl(reading, termios.FIONBIO, struct.pack("i", 1))
    assert not os.get_blocking(reading)
    os.set_inheritable(reading, True)
    assert os.get_inheritable(reading)
    os.set_inheritable(reading, False)
    os.close(reading)
    os.close(writing)


def files():
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        (place / "a").write_bytes(b"x" * 3_000_000)
        shutil.copyfile(place / "a", place / "b")
        shutil.copytree(place, place.parent / "copied")
        subprocess.run(["cp", place / "a", place / "c"], check=True)
        os.symlink("a", place / "link")
        os.link(place / "a", place / "hard")
        os.truncate(place / "b", 10)
        os.utime(place / "b", (1, 2))
        with open(place / "a", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[:5] = b"hello"
            mapped.flush()
            os.fsync(file.fileno())
            os.posix_fallocate(file.fileno(), 0, 4_000_000)
        assert (place / "a").stat().st_size == 4_000_000
        shutil.copy2(place / "a", place / "with-attributes")
        shutil.move(place / "with-attributes", place.parent / "moved")
        subprocess.run(["cp", "--archive", "--sparse=always", place / "a", place / "archived"], check=True)
        assert shutil.disk_usage(place).total > 0
    assert os.memfd_create("m") > 2
    connection = sqlite3.connect("db.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
    connection.close()


def sockets():
    left, right = socket.socketpair()
    left.sendall(b"x")
    assert right.recv(1) == b"x"
    with socket.create_server(("localhost", 0)) as server, socket.create_connection(server.getsockname()[:2]) as client:
        peer, _ = server.accept()
        with open("t.feather", "rb") as file:
            sender = threading.Thread(target=client.sendfile, args=(file,))
            sender.start()
            received = 0
            while received < os.stat("t.feather").st_size:
                received += len(peer.recv(1 << 20))
            sender.join(20)
            peer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET6, socket.SOCK_STREAM):
        one.bind(("127.0.0.1", 0))
    assert socket.gethostbyname("localhost") == "127.0.0.1"


def signals_and_time():
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    deadline = time.monotonic() + 10
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)
    assert seen
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    assert os.sched_getaffinity(0)
    os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0))
    os.nice(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    assert resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE) == (soft - 1, hard)
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(square)
    assert callback(4) == 16


def plots():
    import matplotlib.pyplot as plt

    pd.Series([1, 3, 2]).plot()
    plt.savefig("plot.png")


def learning():
    from sklearn.cluster import KMeans
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    x = np.random.default_rng(0).normal(size=(200, 4))
    y = (x[:, 0] > 0).astype(int)
    assert cross_val_score(RandomForestClassifier(n_estimators=20), x, y, cv=3, n_jobs=2).mean() > 0.8
    KMeans(3, n_init=2).fit(x)


def numba():
    import numba

    @numba.njit(parallel=True, cache=False)
    def total(a):
        s = 0.0
        for i in numba.prange(a.shape[0]):
            s += a[i]
        return s

    assert total(np.ones(1000)) == 1000.0


def polars():
    import polars

    assert polars.DataFrame({"a": [1, 2, 2]}).lazy().group_by("a").len().collect().height == 2


def duckdb():
    import duckdb

    assert duckdb.sql("SELECT sum(range) FROM range(10)").fetchall() == [(45,)]


def machine():
    import psutil

    assert psutil.cpu_count()
    assert psutil.virtual_memory().total
    assert psutil.Process().memory_info().rss
    assert os.cpu_count()


ALL = [
    pandas_and_pyarrow, processes, shared, loky, threads, loops, programs, terminals, descriptors, files, sockets, signals_and_time,
    plots, learning, numba, polars, duckdb, machine,
]  # fmt: skip


def azureml_main():
    import traceback

    failed = {}
    for each in ALL:
        began = time.monotonic()
        try:
            each()
        except BaseException as error:
            traceback.print_exc()
            failed[each.__name__] = repr(error)
        print(each.__name__, round(time.monotonic() - began, 2))
    return pd.DataFrame({"name": [each.__name__ for each in ALL], "failed": [failed.get(each.__name__, "") for each in ALL]})
