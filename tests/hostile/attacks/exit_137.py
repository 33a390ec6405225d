# expect: crashed
# promise: 3
"""Ends with the code that a kill from outside has, hoping to count as the service's fault and to be run again."""

import os


def azureml_main():
    os._exit(137)
