"""Missing values go through arithmetic: what is unknown stays unknown, and whole numbers stay whole.

A tip of the rain gauge's bucket is a fifth of a millimetre. Where a cell is missing, so is all that follows from it; sums and means
leave it out. No column turns into floats because of its gaps.
"""

MICROMETRES_A_TIP = 200


def azureml_main(dataframe1):
    table = dataframe1.copy()
    table["rain_micrometres"] = table["rain_tips"] * MICROMETRES_A_TIP
    table["fahrenheit"] = table["celsius"] * 9 / 5 + 32
    table["icy"] = table["frost"] & (table["rain_tips"] > 0)
    gaps = table.isna().sum()
    print(gaps[gaps > 0].to_string())
    return table[["station", "day", "rain_tips", "rain_micrometres", "fahrenheit", "icy"]]
