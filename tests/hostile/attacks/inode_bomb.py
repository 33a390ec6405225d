# expect: disk_full
# promise: 5
"""Makes empty files without end."""

import os


def azureml_main():
    for count in range(100_000):
        os.close(os.open(f"/dev/shm/{count}", os.O_CREAT | os.O_WRONLY))
