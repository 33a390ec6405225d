"""Which measurements tell most about diabetes? A random forest ranks them.

Takes the Pima Indians diabetes table (the columns and rows in any order), returns one row a feature with its importance,
and saves a bar chart. In a notebook: `azureml_main(pd.read_csv("pima-indians-diabetes.csv"))`.
"""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

LABEL = "diabetes"
TREES = 300


def azureml_main(dataframe1):
    # One order of columns and rows, whatever order they came in: a forest draws both at random, so the same table
    # would otherwise give slightly different numbers.
    features = dataframe1.drop(columns=LABEL)
    features = features[sorted(features.columns)]
    order = features.assign(**{LABEL: dataframe1[LABEL].astype(str)}).sort_values([*features.columns, LABEL]).index
    features, labels = features.loc[order], dataframe1.loc[order, LABEL]
    print(f"{len(features)} rows, {features.shape[1]} features")
    print(f"{LABEL}: {', '.join(f'{name} {count}' for name, count in labels.value_counts().items())}")

    forest = RandomForestClassifier(n_estimators=TREES, min_samples_leaf=2, oob_score=True, random_state=0)
    forest.fit(features, labels)
    print(f"right about {forest.oob_score_:.1%} of the rows that a tree had not seen")

    ranking = pd.DataFrame({"feature": features.columns, "importance": forest.feature_importances_})
    ranking = ranking.sort_values("importance", ascending=False, ignore_index=True)
    draw(ranking)
    return ranking


def draw(ranking):
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    bars = axes.barh(ranking["feature"].str.replace("_", " "), ranking["importance"], color="#9db4c0")
    bars[0].set_color("#c1542f")
    axes.bar_label(bars, fmt="{:.2f}", padding=4, color="#444444")
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_title("What tells most about diabetes", loc="left", fontsize=13, fontweight="bold")
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False)
    figure.savefig("feature importance.png", dpi=150)
    plt.close(figure)
