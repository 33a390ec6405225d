"""Fuzzing for as long as one likes: `python -m tests.fuzz --seconds 600 [TARGET …]`; ends with 1 where something was found.

Each target gets its share of the time, in a process of its own. Where `atheris` is installed (it is in no lock), the pure-Python
readers are instrumented and it looks for bytes that reach new code; without it they get random changes of valid bytes, as the
native readers of tables do.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import structlog

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "out" / "fuzz"
BATCH = 500
TABLES = ("arrow", "arrow-stream", "csv", "json", "ndjson", "parquet")
INPUT_BYTES = 4096
# What the readers of targets.py are made of, to be instrumented before it is imported.
INSTRUMENTED = ["api", "fumehood", "worker", "tests.fuzz.targets", "_fumehood_runner", "python_multipart", "zipfile", "json", "email"]


def tables(form: str, seconds: float, seed: int) -> int:
    """Batches of changed tables. How many cases were a defect; each is kept in out/fuzz."""
    from tests.fuzz import readers

    end, found, batches = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as directory:
            for at, content in enumerate(readers.cases(form, BATCH, seed * 1_000_000 + batches)):
                Path(directory, f"{at}.{form}").write_bytes(content)
            for said in readers.tried(Path(directory)):
                if not said.fine:
                    found += 1
                    keep(form, said.case.read_bytes(), said.how)
        batches += 1
    print(f"{form}: {batches * BATCH:,} cases, {found} found", flush=True)
    return found


def changed(name: str, seconds: float, seed: int) -> int:
    """Random changes of what a target takes, until the first defect."""
    from tests.fuzz.mutations import mutate
    from tests.fuzz.targets import TARGETS

    target, chance, end, tried = TARGETS[name], random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        content, tried = mutate(chance.choice(target.seeds), chance), tried + 1
        try:
            target.read(content)
        except Exception as error:
            keep(name, content, f"{type(error).__name__}: {error}")
            return 1
    print(f"{name}: {tried:,} cases, 0 found", flush=True)
    return 0


def guided(name: str, seconds: float, seed: int) -> None:
    """Ends the process, as libFuzzer does: with 0 when the time is over."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets")
    target = targets.TARGETS[name]

    def one(content: bytes) -> None:
        try:
            target.read(content)
        except Exception as error:
            keep(name, content, f"{type(error).__name__}: {error}")
            raise

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed_bytes in enumerate(target.seeds):
            Path(corpus, str(number)).write_bytes(seed_bytes)
        options = [f"-max_total_time={int(seconds)}", f"-seed={seed or 1}", f"-max_len={INPUT_BYTES}", "-timeout=20", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", f"-artifact_prefix={corpus}/", corpus], one)
        atheris.Fuzz()


def keep(name: str, content: bytes, how: str) -> None:
    FOUND.mkdir(parents=True, exist_ok=True)
    path = FOUND / f"{name.replace(' ', '-')}-{abs(hash(content)) % 10**10}"
    path.write_bytes(content)
    print(f"{name}: {how}\n  kept in {path}\n  {content[:200]!r}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    given = parser.parse_args()
    seed = given.seed or random.randrange(1, 2**31)
    atheris = importlib.util.find_spec("atheris") is not None
    if given.here:
        (name,) = given.targets
        warnings.simplefilter("error")
        logging.disable()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        if name in TABLES:
            return 1 if tables(name, given.seconds, seed) else 0
        if atheris:
            warnings.simplefilter("default")
            guided(name, given.seconds, seed)
        return changed(name, given.seconds, seed)
    from tests.fuzz.targets import TARGETS

    names = given.targets or [*TARGETS, *TABLES]
    unknown = sorted(set(names) - {*TARGETS, *TABLES})
    if unknown:
        parser.error(f"there is no target {', '.join(unknown)}; expected some of {', '.join([*TARGETS, *TABLES])}")
    print(f"seed {seed}, {'guided by coverage' if atheris else 'random changes (atheris is not installed)'}", flush=True)
    share = given.seconds / len(names)
    command = [sys.executable, "-m", "tests.fuzz", "--here", "--seed", str(seed), "--seconds", str(share)]
    # libFuzzer ends its process without tidying up.
    with tempfile.TemporaryDirectory(prefix="fumehood-fuzz-") as directory:
        own = {**os.environ, "TMPDIR": directory}
        failed = [name for name in names if subprocess.run([*command, name], cwd=ROOT, env=own, check=False).returncode]
    print(f"found something: {', '.join(failed)}" if failed else "found nothing", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
