# dataset1: types.arrow
# dataset2: gaps.arrow
# unlike plain pandas: integers with gaps become floats
import pandas as pd


def azureml_main(frame, other):
    shown = {**frame.dtypes.map(str), **other.add_prefix("gappy_").dtypes.map(str)}
    return pd.DataFrame(shown.items(), columns=["column", "dtype"])
