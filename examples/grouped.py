"""Grouping moves the key into the index, and the index of a result is dropped. `reset_index()` makes a column of it.

Returns both, so that the difference can be seen: the first table has lost its stations, and the job's record says so.
"""


def azureml_main(dataframe1):
    summary = dataframe1.groupby("station").agg(
        days=("day", "count"), coldest=("celsius", "min"), mean=("celsius", "mean"), warmest=("celsius", "max"), tips=("rain_tips", "sum")
    )
    summary["mean"] = summary["mean"].round(2)
    return summary, summary.reset_index()
