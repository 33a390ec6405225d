"""Several figures, and a plain DataFrame as the result.

Every PNG in the working directory comes back, names with spaces included; so does a figure that is merely left open.
"""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd


def azureml_main():
    angles = np.linspace(0, 2 * np.pi, 400)
    for petals in (2, 3, 5, 7):
        figure, axes = plt.subplots(figsize=(4, 4), subplot_kw={"projection": "polar"})
        axes.plot(angles, np.cos(petals * angles / 2) ** 2, color="#c1542f")
        axes.set_title(f"rose with {petals} petals")
        axes.set_yticks([])
        figure.savefig(f"rose with {petals} petals.png", dpi=100)
        plt.close(figure)

    # Left open on purpose: it is saved when the function has returned.
    _, axes = plt.subplots(num="damped wave", figsize=(6, 3))
    axes.plot(angles, np.exp(-angles / 2) * np.sin(6 * angles), color="#4a7c89")

    return pd.DataFrame({"angle": angles, "wave": np.exp(-angles / 2) * np.sin(6 * angles)})
