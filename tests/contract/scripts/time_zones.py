# dataset1: types.parquet
import pandas as pd


def azureml_main(frame):
    berlin = frame["ts_zone"].dt.tz_convert("Europe/Berlin")
    return pd.DataFrame({"utc": frame["ts_zone"], "berlin": berlin, "hour": berlin.dt.hour, "floor": frame["ts_ns"].dt.floor("D")})
