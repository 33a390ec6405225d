# stays: yes
"""Files wherever one can be made, also hidden, deep and open without a name; more bytes and blocks in the outputs."""

import os

PLACES = ("/job", "/job/tmp", "/dev/shm", os.path.expanduser("~/.cache/deep/er"), os.environ["MPLCONFIGDIR"])
EVERYWHERE = ("/job", "/dev/shm", "/tmp", "/var/tmp", "/run", "/in", "/out", "/dev/mqueue")


def leave():
    for place in PLACES:
        os.makedirs(place, exist_ok=True)
        for name in ("left-behind", ".left-behind"):
            with open(os.path.join(place, name), "w") as file:
                file.write("left-behind")
    os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR, 0o600)
    for output in ("result.arrow", "result2.arrow", "files.bin"):
        with open("/out/" + output, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, 2**16)
            file.write(b"left-behind")


def look():
    found = [os.path.join(place, name) for top in EVERYWHERE for place, _, names in os.walk(top) for name in names if "left" in name]
    outputs = {name: os.stat("/out/" + name) for name in os.listdir("/out")}
    return found + [name for name, state in outputs.items() if name != "log" and (state.st_size or state.st_blocks)]
