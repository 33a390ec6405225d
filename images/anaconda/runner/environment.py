"""The environment variables that scripts see, and the sizes of the thread pools."""

import ctypes
import math
import os

from . import places

FIXED = {
    "HOME": places.JOB,
    "TMPDIR": places.JOB_TMP,
    "MPLCONFIGDIR": places.MATPLOTLIB,
    "MPLBACKEND": "Agg",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    # Exact order in the log over the script, its children and raw writes needs that nobody buffers.
    "PYTHONUNBUFFERED": "1",
    # Nothing written to a sandbox is read by another one.
    "PYTHONDONTWRITEBYTECODE": "1",
}

# Each library reads its own.
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "LOKY_MAX_CPU_COUNT",
)

# Arrow's allocator would start a thread when it is loaded. A process that is about to fork should have one thread.
ONLY_SUPERVISOR = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}

# Ours, the container engine's, and what an interpreter must not take from outside.
DROPPED_PREFIXES = ("FUMEHOOD_", "PYTHON", "GPG_KEY", "HOSTNAME")


def for_supervisor(given: dict) -> dict:
    """What the image set, less what is ours, plus the fixed part. One thread each: the supervisor only imports."""
    kept = {name: value for name, value in given.items() if not name.startswith(DROPPED_PREFIXES)}
    return kept | FIXED | dict.fromkeys(THREADS, "1") | ONLY_SUPERVISOR


def replace(variables: dict) -> None:
    """Make `variables` the environment of this process. C libraries read it when they are loaded, so do it before."""
    os.environ.clear()
    os.environ.update(variables)


def for_script(cpus: float) -> None:
    """What the script and its children see; to be called in the child."""
    for name in ONLY_SUPERVISOR:
        os.environ.pop(name, None)
    set_threads(cpus)


def set_threads(cpus: float) -> int:
    """Give every thread pool of this process, and of those it will start, as many threads as it has CPUs (rounded up)."""
    import pyarrow

    count = max(1, math.ceil(cpus))
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    pyarrow.set_cpu_count(count)
    pyarrow.set_io_thread_count(count)
    if count > 1:
        _set_openblas_threads(count)
    return count


def _set_openblas_threads(count: int) -> None:
    """NumPy's OpenBLAS was loaded with one thread, before the job's limit was known; tell it the number."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        paths = {line.split(None, 5)[5].strip() for line in maps if "openblas" in line}
    for path in paths:
        library = ctypes.CDLL(path)
        for symbol in ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads", "openblas_set_num_threads"):
            function = getattr(library, symbol, None)
            if function is not None:
                function(ctypes.c_int(count))
                break
