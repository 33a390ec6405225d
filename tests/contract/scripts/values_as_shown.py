# dataset1: types.arrow
# dataset2: gaps.arrow
# unlike plain pandas: lists are arrays, and integers with gaps floats
import pandas as pd


def azureml_main(frame, other):
    cells = [(name, type(value).__name__, repr(value)) for table in (frame, other) for name in table for value in table[name]]
    return pd.DataFrame(cells, columns=["column", "type", "value"])
