"""Two tables in, two tables out: join measurements to thresholds, and count what lies above.

`dataframe1` is any table of numbers; `dataframe2` has the columns `column` and `threshold`. Returns the rows of `dataframe1`
that pass a threshold, with the name of the column that did, and a count for each threshold.
"""


def azureml_main(dataframe1, dataframe2):
    long = dataframe1.rename_axis("row").reset_index().melt("row", var_name="column", value_name="value")
    long = long[long["column"].isin(dataframe2["column"])].astype({"value": "float64"})
    joined = long.merge(dataframe2, on="column", how="inner")
    above = joined[joined["value"] > joined["threshold"]].sort_values(["row", "column"], ignore_index=True)
    counts = dataframe2.merge(above.groupby("column", as_index=False).size(), on="column", how="left")
    counts["rows_above"] = counts.pop("size").fillna(0).astype("int64")
    print(f"{len(above)} values lie above their threshold")
    return above, counts
