# expect: too_many_processes
# promise: 5
"""Starts threads until one is refused."""

import threading
import time


def azureml_main():
    while True:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
