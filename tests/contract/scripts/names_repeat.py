import pandas as pd


def azureml_main():
    return pd.DataFrame([[1, 2.5, "x", True]], columns=["a", "a", "a (2)", "a"])
