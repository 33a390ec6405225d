# dataset1: weather.parquet
def azureml_main(weather):
    celsius = weather[weather["station"] == "valley"].set_index("day")["celsius"]
    return celsius.resample("W").agg(["min", "mean", "max", "std"]).reset_index(), celsius.rolling(7).mean().reset_index()
