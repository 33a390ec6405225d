"""What a sandbox mounts must lie where its name says: the engine follows links, so a link would mount any place of the host."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gate.refusal import Refused
from worker.scratch import OUTPUTS

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check(home: Path, scratch: str) -> None:
    """Walk the directories of an attempt as they are, link by link.

    Whoever can write there can change them a moment later. That a worker cannot make links at all is what holds
    (`seccomp.service_profile`); this look is for a worker that runs without that filter, and narrows the moment.

    Raises:
        Refused: a directory or file of it is missing, or something else.
    """
    held: list[int] = []

    def enter(name: str, where: int | None) -> int:
        held.append(os.open(name, DIRECTORY, dir_fd=where))
        return held[-1]

    try:
        top = enter(scratch, enter("scratch", enter(str(home), None)))
        enter("in", top)
        outputs = enter("out", top)
        for name, where in (("hosts", top), *((output, outputs) for output in OUTPUTS)):
            if not stat.S_ISREG(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode):
                raise Refused(f"the attempt's {name} is no regular file, so it is not mounted")
    except OSError as error:
        raise Refused(f"the attempt's directory is not as a worker makes it ({error.strerror}), so it is not mounted") from None
    finally:
        for descriptor in held:
            os.close(descriptor)
