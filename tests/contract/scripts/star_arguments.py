# dataset1: orders.csv
# dataset2: customers.json
import pandas as pd


def azureml_main(*frames):
    return pd.DataFrame({"rows": [len(frame) for frame in frames]})
