# expect: crashed
# promise: 3
"""Ends its process when its call is on the way and not here, hoping to count as the service's fault and to be run again."""

import os
import threading
import time


def watch():
    while not os.path.exists("/in/request.json"):
        time.sleep(0.0005)
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()


def azureml_main():
    time.sleep(10)
