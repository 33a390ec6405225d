# expect: output_too_large
# promise: 5
"""Returns a table that is larger than its job may publish."""

import pandas


def azureml_main():
    return pandas.DataFrame({"x": range(1_000_000)})
