"""A column of everything: numbers, text, a date and a gap in one object column. It comes back as text; the job's record says so."""

import datetime

import pandas as pd


def azureml_main():
    values = [42, 2.5, "seven", True, datetime.date(2024, 2, 29), None]
    kinds = ["missing" if value is None else type(value).__name__ for value in values]
    return pd.DataFrame({"kind": kinds, "value": pd.Series(values, dtype=object)})
