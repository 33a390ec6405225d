"""`python -m courier`: send webhooks until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog

from courier.courier import Courier
from fumehood import __version__, log
from fumehood.errors import FumehoodError, Misconfigured
from fumehood.job_store import JobStore
from fumehood.log import said
from fumehood.settings import Settings, read

FAILED, WRONG_USE = 1, 2
# Its age says whether the courier lives; outside the home, which others see.
PULSE = Path("/tmp/courier.pulse")

logger = structlog.get_logger(__name__)


def main(arguments: list[str]) -> int:
    if arguments:
        print("usage: python -m courier", file=sys.stderr)
        return WRONG_USE
    try:
        settings = read()
    except Misconfigured as error:
        print(error.detail, file=sys.stderr)
        return WRONG_USE
    log.configure(settings.log_level)
    try:
        store = JobStore(settings.store_url)
        store.migrate()
        asyncio.run(stand(settings, store))
        store.close()
    except (FumehoodError, OSError) as error:
        logger.error("courier cannot start", error=said(error))
        return WRONG_USE if isinstance(error, Misconfigured) else FAILED
    return 0


async def stand(settings: Settings, store: JobStore) -> None:
    loop = asyncio.get_running_loop()
    # A name that nobody answers for holds its thread longer than its delivery waits.
    loop.set_default_executor(ThreadPoolExecutor(max_workers=4 * settings.webhook_slots, thread_name_prefix="courier"))
    courier = Courier(settings, store, pulse=_pulse)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, courier.stop)
    logger.info("courier starts", version=__version__, slots=settings.webhook_slots)
    await courier.run()
    logger.info("courier ends")


def _pulse() -> None:
    with suppress(OSError):
        PULSE.touch()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
