# expect: crashed
# promise: 5
"""Recurses in C until the stack ends."""

import faulthandler


def azureml_main():
    faulthandler._stack_overflow()
