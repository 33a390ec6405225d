# dataset1: diabetes.csv
import matplotlib.pyplot as plt


def azureml_main(people):
    plt.style.use("ggplot")
    people.groupby("diabetes")["age"].plot.kde(legend=True)
    plt.savefig("AGES.PNG", dpi=50, bbox_inches="tight")
    plt.close()
    return people.head(1)
