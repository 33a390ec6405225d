"""Typed keyword parameters: the names behind the `*` are filled from the job's parameters.

`fumehood run … --param column=age --param threshold=50` keeps the rows where `age` is above 50.
"""

import pandas as pd


def azureml_main(dataframe1: pd.DataFrame, *, column: str, threshold: float = 0.0, keep_equal: bool = False):
    values = dataframe1[column]
    kept = dataframe1[values >= threshold] if keep_equal else dataframe1[values > threshold]
    print(f"{len(kept)} of {len(dataframe1)} rows have {column} {'>=' if keep_equal else '>'} {threshold}")
    return kept.reset_index(drop=True)
