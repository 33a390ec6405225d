# dataset1: diabetes.csv
import pandas as pd


def azureml_main(people):
    bins = pd.cut(people["age"], [0, 30, 50, 100], labels=["young", "middle", "old"])
    quarters = pd.qcut(people["body_mass_index"], 4, labels=False)
    return pd.crosstab(bins, quarters).reset_index(), pd.get_dummies(people["diabetes"]).assign(bin=bins)
