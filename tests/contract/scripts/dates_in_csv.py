# dataset1: gaps.csv
# unlike plain pandas: dates in CSV are text
import datetime

import pandas as pd


def azureml_main(frame):
    following = [day and day + datetime.timedelta(days=1) for day in frame["day"]]
    return pd.DataFrame({"day": frame["day"], "next": following, "at": frame["at"] + pd.Timedelta("1h")})
