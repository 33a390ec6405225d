# dataset1: diabetes.csv
import numpy as np
import pandas as pd


def azureml_main(people):
    values = people.select_dtypes("number").to_numpy(float)
    _, strength, directions = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    return pd.DataFrame(directions).assign(strength=strength), pd.DataFrame(np.linalg.inv(values.T @ values))
