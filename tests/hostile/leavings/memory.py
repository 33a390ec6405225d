# stays: yes
"""Changes what is imported already: pandas, the built-in functions, the modules' table, the runner's own modules, the environment."""

import builtins
import os
import sys

import pandas


def leave():
    pandas.DataFrame.left_behind = True
    builtins.left_behind = True
    sys.modules["left_in_memory"] = pandas
    sys.path.insert(0, "/job/left-behind")
    sys.settrace(lambda *_: None)
    os.environ["LEFT_IN_MEMORY"] = "yes"
    for name, module in list(sys.modules.items()):
        if name.startswith("_fumehood_runner"):
            module.left_behind = True


def look():
    runner = [name for name, module in list(sys.modules.items()) if name.startswith("_fumehood_runner") and hasattr(module, "left_behind")]
    seen = {
        "pandas": hasattr(pandas.DataFrame, "left_behind"), "built in": hasattr(builtins, "left_behind"), "trace": sys.gettrace() is not None,
        "module": "left_in_memory" in sys.modules, "path": "/job/left-behind" in sys.path, "environment": "LEFT_IN_MEMORY" in os.environ,
    }  # fmt: skip
    return runner + [name for name, is_there in seen.items() if is_there]
