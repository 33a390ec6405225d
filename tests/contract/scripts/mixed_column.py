import pandas as pd


def azureml_main():
    return pd.DataFrame({"mixed": [1, "two", 3.5, None, False, b"bytes"], "number": range(6)})
