import datetime

import pandas as pd


def azureml_main():
    return pd.DataFrame([range(5)], columns=[1, 2.5, None, datetime.date(2024, 2, 29), "text"])
