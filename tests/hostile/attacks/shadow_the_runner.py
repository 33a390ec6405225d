# expect: ok
# promise: 7
"""Leaves modules where imports look first, called like the runner's own, the libraries' and what interpreters run when they begin."""

import importlib
import os
import sys

import pandas

OURS = ("supervisor", "child", "report", "collector", "places", "processes", "arrow_in", "tables_out")
OTHERS = ("json", "pandas", "pyarrow", "numpy", "zipfile", "sitecustomize", "usercustomize", "site", "encodings", "_fumehood_runner")


def azureml_main():
    for name in OURS:
        try:
            found = importlib.import_module(name)
        except ImportError:
            continue
        raise AssertionError(f"the runner's {found.__file__} can be had as {name}")
    for name in OURS + OTHERS:
        with open(f"/job/{name}.py", "w") as file:
            file.write(f"open('/out/log', 'a').write('SHADOW {name}')\nimport os\nos.write(2, b'SHADOW')\n")
    with open("/job/shadow.pth", "w") as file:
        file.write("import os; os.write(2, b'SHADOW')\n")
    os.environ.update(PYTHONPATH="/job", PYTHONSTARTUP="/job/json.py", PYTHONHOME="/job", LD_PRELOAD="/job/json.py")
    table = pandas.DataFrame({"harmless": [1]})
    for name in list(sys.modules):
        if name.split(".")[0] in ("json", "zipfile", "encodings"):
            del sys.modules[name]
    return table
