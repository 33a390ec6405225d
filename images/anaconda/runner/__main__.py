"""Start of the runner: `python -P -s /opt/fumehood/runner`, the first process of a sandbox; with `debug`, of a debugger's.

The package is loaded under a name of its own and its directory leaves `sys.path`, so that no module of a script or
bundle can shadow one of the runner's, or the other way. PYTHONHASHSEED must be 0 before the interpreter begins: the
image sets it, and where that is not seen (`python -I`) the runner starts itself a second time.
"""

import sys

# What any interpreter has imported by itself. A bundle may shadow every other module (script_module.py).
MODULES_AT_START = frozenset(sys.modules)

import os  # noqa: E402  (after the line above on purpose)
import time  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = "_fumehood_runner"
WAIT_SECONDS_DEFAULT = 60.0


def load_package():
    """Import the runner's directory as the package `_fumehood_runner`."""
    from importlib import util

    spec = util.spec_from_file_location(
        PACKAGE, os.path.join(HERE, "__init__.py"), submodule_search_locations=[HERE]
    )
    package = util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    return package


def seconds_to_wait() -> float:
    """How long the supervisor may live without a go line."""
    try:
        return float(os.environ["FUMEHOOD_WAIT_SECONDS"])
    except (KeyError, ValueError):
        return WAIT_SECONDS_DEFAULT


def main() -> None:
    """Run one job, as the first process of a container and nowhere else."""
    started_at = time.monotonic()
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
    if os.getpid() != 1:
        # It ends by killing every process it can see.
        sys.exit("The runner must be the first process of a container of its own.")
    load_package()
    from _fumehood_runner import ahead, environment

    if sys.flags.hash_randomization:
        kept = {"FUMEHOOD_WAIT_SECONDS": repr(seconds_to_wait())}
        os.execve(sys.executable, [sys.executable, "-s", "-P", HERE, *sys.argv[1:]], environment.for_supervisor(os.environ) | kept)
    wait_seconds = seconds_to_wait()
    environment.replace(environment.for_supervisor(os.environ))
    ahead.import_ahead()
    if sys.argv[1:] == ["debug"]:
        from _fumehood_runner import debug as role
    else:
        from _fumehood_runner import supervisor as role

    role.main(started_at=started_at, wait_seconds=wait_seconds, modules_at_start=MODULES_AT_START)


if __name__ == "__main__":
    main()
