"""`python -m fumehood.migrations REVISION`: bring the schema of a stopped service to a revision, up or down, as for going back
to an older version; without REVISION, say which one it has."""

from __future__ import annotations

import sys

from fumehood.errors import FumehoodError, Misconfigured
from fumehood.job_store import JobStore
from fumehood.migrations import BASE, HEAD, current, downgrade, revisions, upgrade
from fumehood.settings import read

FAILED, WRONG_USE = 1, 2


def main(arguments: list[str]) -> int:
    known = revisions()
    if len(arguments) > 1 or not set(arguments) <= {HEAD, *known}:
        print(f"usage: python -m fumehood.migrations [REVISION]; the revisions are {', '.join(known)} ({HEAD})", file=sys.stderr)
        return WRONG_USE
    try:
        with JobStore(read().store_url).migrating() as connection:
            found = current(connection)
            wanted = known[-1] if arguments == [HEAD] else arguments[0] if arguments else found
            if wanted is not None and wanted != found:
                go = upgrade if found is None or found < wanted else downgrade
                go(connection, wanted)
            print(found or BASE, *(["→", wanted] if wanted != found else []))
    except FumehoodError as error:
        print(error.detail, file=sys.stderr)
        return WRONG_USE if isinstance(error, Misconfigured) else FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
