# dataset1: diabetes.csv
import numpy as np
import pandas as pd
from scipy import integrate, interpolate, optimize, stats


def azureml_main(people):
    ill, well = (people.loc[people["diabetes"] == label, "age"] for label in ("pos", "neg"))
    found = {
        "t": stats.ttest_ind(ill, well).statistic,
        "p": stats.mannwhitneyu(ill, well).pvalue,
        "root": optimize.brentq(lambda x: np.cos(x) - x, 0, 1),
        "area": integrate.quad(lambda x: np.exp(-x * x), -np.inf, np.inf)[0],
        "spline": float(interpolate.CubicSpline(range(5), [0, 1, 4, 9, 16])(2.5)),
    }
    return pd.DataFrame(found.items(), columns=["name", "value"])
