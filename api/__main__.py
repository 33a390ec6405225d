"""`python -m api`: the HTTP server."""

from __future__ import annotations

import gc
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
from fumehood.files import allow_files
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
        allow_files(files_for(settings.connections_max), connections=settings.connections_max)
        # Once before the server does it: of a start that fails, the server tells a page of traceback.
        store = JobStore(settings.store_url)
        prepare(store, settings)
        store.close()
        app = create_app(settings)
    except FumehoodError as error:
        structlog.get_logger(__name__).error("api cannot start", error=said(error))
        sys.exit(WRONG_USE if isinstance(error, Misconfigured) else FAILED)
    config = uvicorn.Config(
        app,
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


def files_for(connections: int) -> int:
    """How many files this process may have open at its fullest."""
    return connections + REQUESTS_MAX * FILES_OF_REQUEST + FILES_OF_ALL


if __name__ == "__main__":
    main()
