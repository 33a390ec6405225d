# expect: disk_full
# promise: 5
"""Writes into its working directory for ever."""

def azureml_main():
    for count in range(60):
        with open(f"full-{count}", "wb") as file:
            file.write(bytes(2**20))
