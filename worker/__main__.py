"""`python -m worker`: run a worker until SIGTERM. `python -m worker health`: exit 0 where a worker of this host lives."""

from __future__ import annotations

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
    if arguments not in ([], ["health"]):
        print("usage: python -m worker [health]", file=sys.stderr)
        return WRONG_USE
    try:
        settings = read()
    except Misconfigured as error:
        print(error.detail, file=sys.stderr)
        return WRONG_USE
    if arguments == ["health"]:
        return health(settings)
    log.configure(settings.log_level)
    # A warning about a default that the settings of the queue state explicitly.
    warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module="celery")
    return work(settings)


def health(settings: Settings) -> int:
    """Without store, Redis or engine: those may be away for a while, and a restart of the worker would not bring them back."""
    from worker.registration import healthy

    # A chore may wait for the engine once before the next pulse.
    return 0 if healthy(settings.home, within_seconds=3 * settings.reap_seconds + settings.engine_seconds) else FAILED


def work(settings: Settings) -> int:
    from worker.app import create_worker  # Celery and the engine's client take a moment that the health check has not

    logger = structlog.get_logger(__name__)
    try:
        return create_worker(settings).run()
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
