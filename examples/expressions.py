"""Evaluates arithmetic: one column of text goes in, the expressions and their values come out.

`eval` on somebody else's text is what one must never do, unless it happens where nothing can be broken: a sandbox has no
network, no secrets and no tomorrow. What cannot be evaluated has no value; the reason stands beside it.
"""

import math

import pandas as pd

NAMES = {name: value for name, value in vars(math).items() if not name.startswith("_")}


def azureml_main(dataframe1):
    expressions = dataframe1.iloc[:, 0]
    values, problems = zip(*map(evaluated, expressions), strict=True)
    print(f"{sum(value is not None for value in values)} of {len(values)} expressions have a value")
    return (pd.DataFrame({"expression": expressions, "value": pd.array(values, "float64"), "problem": problems}),)


def evaluated(text):
    try:
        return float(eval(text, {"__builtins__": {}}, NAMES)), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
