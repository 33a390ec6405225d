# dataset1: diabetes.csv
import matplotlib.pyplot as plt
import numpy as np


def azureml_main(people):
    figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained")
    grid = np.linspace(-3, 3, 60)
    axes[0, 0].hist(people["age"], bins=20)
    axes[0, 1].boxplot([people["age"], people["body_mass_index"]], tick_labels=["age", "mass"])
    axes[0, 2].imshow(np.outer(np.sin(grid), np.cos(grid)), cmap="viridis")
    axes[1, 0].contourf(grid, grid, np.hypot(*np.meshgrid(grid, grid)))
    axes[1, 1].bar(["Ä", "ß", "Ω"], [3, 1, 2])
    axes[1, 2].text(0.1, 0.5, r"$\int_0^\infty e^{-x^2} dx = \frac{\sqrt{\pi}}{2}$")
    figure.savefig("many kinds.png")
    return people.head(1)
