"""Column names that are integers: a pivot table has the values of a column as names. They come back as text, `2`, `3`, `4`."""


def azureml_main(dataframe1):
    months = dataframe1.assign(month=dataframe1["day"].dt.month)
    table = months.pivot_table(values="celsius", index="station", columns="month", aggfunc="mean")
    print(f"the names are of the type {table.columns.dtype}")
    return table.round(2).reset_index(drop=True), table.round(2).reset_index()
