"""`python -m api`: the HTTP server."""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import suppress

import structlog
import uvicorn

from api.app import create_app, prepare
from api.places import REQUESTS_MAX
from api.protocol import Door, patient
from api.server import Server
from fumehood import log
from fumehood.errors import FumehoodError, Misconfigured
from fumehood.job_store import JobStore
from fumehood.log import said
from fumehood.settings import read

FAILED, WRONG_USE = 1, 2
BACKLOG = 256
# Beside the connections: the parts of a form, a note and the database's files of each request that is handled.
FILES_OF_REQUEST, FILES_OF_ALL = 5, 128
KEEP_ALIVE_SECONDS = 30
SHUTDOWN_SECONDS = 10


def main() -> None:
    try:
        settings = read()
    except Misconfigured as error:
        sys.exit(error.detail)
    log.configure(settings.log_level)
    try:
        allow_files(settings.connections_max)
        # Once before the server does it: of a start that fails, the server tells a page of traceback.
        store = JobStore(settings.store_url)
        prepare(store, settings)
        store.close()
    except FumehoodError as error:
        structlog.get_logger(__name__).error("api cannot start", error=said(error))
        sys.exit(WRONG_USE if isinstance(error, Misconfigured) else FAILED)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        http=patient(Door(connections_max=settings.connections_max, patience_seconds=settings.body_idle_seconds)),
        limit_concurrency=None,  # api.places bounds the requests, api.protocol the connections
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        log_config=None,  # fumehood.log is in charge
        access_log=False,  # api.middleware writes one event per request, without query and headers
        server_header=False,
        proxy_headers=False,
        ws="none",
    )
    server = Server(config)
    # What is loaded stays; looking through it now and then would hold up a request for some 50 ms.
    gc.collect()
    gc.freeze()
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(FAILED)


def allow_files(connections: int) -> None:
    """Let this process have open what it may need at its fullest: where a file cannot be opened, or a connection be taken, nobody is
    served.

    Raises:
        Misconfigured: the system does not allow it.
    """
    needed = connections + REQUESTS_MAX * FILES_OF_REQUEST + FILES_OF_ALL
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        raise Misconfigured(f"this process may have {most:,} files open; expected {needed:,} or more for {connections:,} connections")
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


if __name__ == "__main__":
    main()
