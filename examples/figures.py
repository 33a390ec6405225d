"""Twenty figures, and a plain DataFrame as the result.

Every PNG in the working directory comes back, names with spaces included, in the order in which they were written. The curves are
roses: the radius is the cosine of a multiple of the angle, and the multiple is a fraction.
"""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd


def azureml_main():
    rows = []
    for above in range(1, 6):
        for below in (2, 3, 5, 7):
            name = f"rose of {above} over {below}.png"
            angle = np.linspace(0, 2 * np.pi * below, 1200)
            radius = np.cos(above / below * angle)
            draw(radius * np.cos(angle), radius * np.sin(angle), name)
            length = np.hypot(np.diff(radius * np.cos(angle)), np.diff(radius * np.sin(angle))).sum()
            rows.append({"figure": name, "fraction": above / below, "turns": below, "length": length})
    return pd.DataFrame(rows)


def draw(across, up, name):
    figure, axes = plt.subplots(figsize=(3, 3), layout="constrained")
    axes.plot(across, up, color="#c1542f", linewidth=1.5)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(name.removesuffix(".png"), fontsize=10, color="#444444")
    figure.savefig(name, dpi=100)
    plt.close(figure)
