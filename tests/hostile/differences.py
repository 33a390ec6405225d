"""What the leavings of tests/hostile leave otherwise on gVisor."""

from __future__ import annotations

# What is not left because it would end the chain's own jobs, and lines that are another's there.
UNTRIED = {"supervisor": "a script reaches its supervisor's descriptors, and the log with them; the supervisor dies with the job"}
LEFT_OTHERWISE = {
    # gVisor's tmpfs has no files without a name.
    "files": (('    os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR, 0o600)\n', ""),),
    # Nothing is counted per user, so that nothing runs out.
    "quotas": (("# stays: yes\n", "# stays: no\n"),),
}
