"""What the leavings of tests/hostile leave otherwise on gVisor, and which of the hostile inputs are tried there."""

from __future__ import annotations

# What is not left because it would end the chain's own jobs, and lines that are another's there.
UNTRIED = {"supervisor": "a script reaches its supervisor's descriptors, and the log with them; the supervisor dies with the job"}
LEFT_OTHERWISE = {
    # gVisor's tmpfs has no files without a name.
    "files": (('    os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR, 0o600)\n', ""),),
    # Nothing is counted per user, so that nothing runs out.
    "quotas": (("# stays: yes\n", "# stays: no\n"),),
}
# All hostile inputs are tried on runc. Most are refused by a reader that is the same here, before a kernel has any part in it; a
# sandbox for each would take minutes. Tried here are these, by what gVisor has a part in, and so that every format has every
# ending that its inputs may have.
TRIED_INPUTS: dict[str, tuple[str, ...]] = {
    "memory runs out": (
        "arrow: compressed zeros",
        "arrow: a buffer that will be exabytes",
        "parquet: gigabytes of one word",
        "csv: one line",
        "json: a text of megabytes",
        "ndjson: one line of megabytes",
    ),
    "a reader runs into its stack's end, or beyond its buffer's": ("parquet: flipped bits", "json: deep", "ndjson: deep"),
    "lengths that are asked of the kernel as they are": ("arrow-stream: two gigabytes of schema", "parquet: a footer of four gigabytes"),
    "inputs are mapped or read, to their end or to less": (
        "arrow: a list of two billion",
        "arrow-stream: cut",
        "csv: nothing",
        "ndjson: only line ends",
        "of a format that there is not",
    ),
    "the file system is full": ("one body for many", "a wheel of zeros", "a gigabyte of zeros"),
    "files in great number or depth": ("more entries than allowed", "a tree of thousands", "a name of thousands of letters"),
    "files beside their place": ("out of its directory", "an absolute name", "a link", "a wheel that leaves its directory"),
    "kinds and rights of files": ("a device", "a pipe", "a socket", "a program with its owner's rights", "nobody may read it"),
    "names that a file system may take for one": ("a name with a zero", "names that differ in their case", "names that look the same"),
}
