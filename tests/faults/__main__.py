"""`python -m tests.faults`: a storm as long as you like. Ends with 1 where a promise was broken or something is left."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.engine import private_engine
from tests.faults.service import Service
from tests.faults.storm import storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Kill parts of the service while it runs jobs.")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--every-seconds", type=float, default=3.0, help="between two faults, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--image", default=os.environ.get("FUMEHOOD_IMAGE"), help="id of the sandbox image in the machine's engine")
    parser.add_argument("--keep", type=Path, help="leave logs and the database here")
    asked = parser.parse_args()
    if not asked.image:
        parser.error("no image; expected --image or FUMEHOOD_IMAGE, as `python3 images/build.py anaconda --print-id` prints it")
    # Told to end, it takes its engine and its service away first.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="fh-storm-") as made, private_engine(asked.image) as engine:
        directory = asked.keep or Path(made)
        directory.mkdir(parents=True, exist_ok=True)
        service = Service(directory, engine, asked.image)
        found = storm(
            service, jobs=asked.jobs, every_seconds=asked.every_seconds, seed=asked.seed, say=lambda line: print(line, flush=True)
        )
    print(found.text())
    return 1 if found.broken or found.left else 0


if __name__ == "__main__":
    raise SystemExit(main())
