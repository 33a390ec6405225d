import platform
from importlib import metadata

import pandas as pd


def azureml_main():
    installed = {one.name.lower().replace("_", "-").replace(".", "-"): one.version for one in metadata.distributions()}
    return pd.DataFrame([("python", platform.python_version()), *sorted(installed.items())], columns=["name", "version"])
