"""Every measurement against every other one, people with diabetes in red: `scatter_matrix` of pandas, saved as PNG."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from pandas.plotting import scatter_matrix

COLUMNS = {"plasma_glucose": "glucose", "body_mass_index": "body mass", "age": "age"}
COLOURS = {"neg": "#9db4c0", "pos": "#c1542f"}


def azureml_main(dataframe1):
    # Zero means that nobody measured it.
    measured = dataframe1[(dataframe1[[*COLUMNS]] > 0).all(axis="columns")].rename(columns=COLUMNS)
    axes = scatter_matrix(
        measured[[*COLUMNS.values()]],
        figsize=(6, 6),
        diagonal="hist",
        color=measured["diabetes"].map(COLOURS),
        hist_kwds={"color": "#4a7c89", "bins": 20},
        alpha=1,
        s=40,
        linewidths=0,
        antialiased=False,  # a third of the bytes
    )
    axes[0, 0].figure.savefig("scatter matrix.png", dpi=100)
    plt.close("all")
    print(f"{len(measured)} of {len(dataframe1)} people have all of {', '.join(COLUMNS)}")
    return measured[[*COLUMNS.values()]].corr().round(3).reset_index(names="measurement")
