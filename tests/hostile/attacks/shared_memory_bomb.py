# expect: disk_full
# promise: 5
"""Fills the shared memory."""

def azureml_main():
    for count in range(60):
        with open(f"/dev/shm/full-{count}", "wb") as file:
            file.write(bytes(2**20))
