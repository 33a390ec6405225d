# dataset1: types.parquet
import pandas as pd


def azureml_main(frame):
    return pd.json_normalize(list(frame["struct"])), frame[["struct"]]
