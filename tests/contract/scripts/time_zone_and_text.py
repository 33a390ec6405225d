import datetime
import locale
from pathlib import Path

import pandas as pd


def azureml_main():
    Path("notes.txt").write_text("Grüße aus Łódź")
    epoch = datetime.datetime.fromtimestamp(0)
    return pd.DataFrame({"epoch": [epoch], "text": [Path("notes.txt").read_text()], "encoding": [locale.getpreferredencoding().lower()]})
