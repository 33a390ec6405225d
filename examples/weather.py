"""No input at all: a table made from nothing. Ninety days of weather at four stations that do not exist.

Instruments fail: a few cells of each measurement are missing. Rain is counted in whole tips of a bucket, and frost is a plain
yes or no; both keep their type in spite of the gaps. The figure is left open, as in a notebook, and comes back all the same.
`weather.parquet`, which other examples read, is what this returns.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

STATIONS = {"harbour": 11.0, "valley": 8.5, "plateau": 5.0, "summit": -2.0}
DAYS = pd.date_range("2024-02-01", periods=90, unit="ms")


def azureml_main():
    chance = np.random.default_rng(seed=1735)
    table = pd.concat([station(name, warmth, chance) for name, warmth in STATIONS.items()], ignore_index=True)

    _, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for name, days in table.groupby("station", sort=False):
        (line,) = axes.plot(days["day"], days["celsius"].rolling(7, min_periods=1).mean())
        axes.text(DAYS[-1], line.get_ydata()[-1], f" {name}", color=line.get_color(), va="center")
    axes.set_title("Mean temperature of a week, °C", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()
    return table


def station(name, warmth, chance):
    season = np.linspace(-4, 7, len(DAYS))
    celsius = np.round(warmth + season + chance.normal(0, 2.5, len(DAYS)), 1)
    tips = chance.poisson(6, len(DAYS)) * chance.integers(0, 2, len(DAYS))
    return pd.DataFrame(
        {
            "station": name,
            "day": DAYS,
            "celsius": pd.Series(celsius).mask(gaps(chance)),
            "rain_tips": pd.Series(tips, dtype="Int64").mask(gaps(chance)),
            "frost": pd.Series(celsius < 0, dtype="boolean").mask(gaps(chance)),
        }
    )


def gaps(chance):
    return chance.random(len(DAYS)) < 0.04
