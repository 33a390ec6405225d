import pandas as pd


def azureml_main():
    return pd.DataFrame()
