# expect: crashed
# promise: 7
"""Patches what the runner has in the script's own process: its modules, json, os.write, pandas, pyarrow, codecs, exits, the collector of garbage."""

import builtins
import codecs
import gc
import io
import json
import os
import sys


def liar(*_arguments, **_keywords):
    raise SystemError("patched")


def azureml_main():
    import pandas
    import pyarrow

    for name, module in list(sys.modules.items()):
        if name.startswith("_fumehood_runner."):
            for key, value in list(vars(module).items()):
                if callable(value) and not key.startswith("__"):
                    setattr(module, key, liar)
    json.dumps = json.loads = pandas.DataFrame.__init__ = pandas.DataFrame.__arrow_c_stream__ = os.write = liar
    pyarrow.Table.from_pandas = None
    io.TextIOWrapper = builtins.isinstance = builtins.len = liar
    codecs.register(liar)
    gc.callbacks.append(liar)
    sys.settrace(liar)
    sys.excepthook = sys.unraisablehook = liar
    sys.modules.clear()
    return 1
