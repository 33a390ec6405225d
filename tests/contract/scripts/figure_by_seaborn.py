# dataset1: diabetes.csv
import matplotlib.pyplot as plt
import seaborn as sns


def azureml_main(people):
    sns.set_theme(style="whitegrid")
    sns.heatmap(people.corr(numeric_only=True), annot=True, fmt=".1f")
    plt.savefig("heat map.png")
    plt.close()
    grid = sns.catplot(people, x="diabetes", y="age", kind="violin")
    grid.savefig("violins.png")
    plt.close()
    return people.head(1)
