"""`python -m worker`: run a worker until SIGTERM. Whether one lives says worker/health.py."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import warnings

import structlog

from fumehood import log
from fumehood.errors import FumehoodError, Misconfigured
from fumehood.log import said
from fumehood.settings import Settings, read

FAILED, WRONG_USE = 1, 2


def main(arguments: list[str]) -> int:
    if arguments:
        print("usage: python -m worker", file=sys.stderr)
        return WRONG_USE
    try:
        settings = read()
    except Misconfigured as error:
        print(error.detail, file=sys.stderr)
        return WRONG_USE
    log.configure(settings.log_level)
    # A warning about a default that the settings of the queue state explicitly.
    warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module="celery")
    return work(settings)


def work(settings: Settings) -> int:
    from worker.app import create_worker  # Celery and the engine's client take a moment; a wrong setting is said before

    logger = structlog.get_logger(__name__)
    try:
        worker = create_worker(settings)
        # What is loaded stays; looking through it now and then would hold up a job for some 50 ms.
        gc.collect()
        gc.freeze()
        return worker.run()
    except FumehoodError as error:
        logger.error("worker cannot start", error=said(error))
        return WRONG_USE if isinstance(error, Misconfigured) else FAILED


def leave(code: int) -> None:
    """Exit; without waiting for threads that did not end in their time, which the interpreter would join for ever."""
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
