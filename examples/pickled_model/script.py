"""Scores a table with a model from the bundle: a pickle in `models/`, and the module that its class comes from."""

import pickle
from pathlib import Path

MODEL = Path("Script Bundle/models/diabetes.pkl")


def azureml_main(dataframe1):
    model = pickle.loads(MODEL.read_bytes())
    table = dataframe1[[*model.columns, "diabetes"]].assign(probability=model.probability(dataframe1).round(6))
    right = ((table["probability"] > 0.5) == (table["diabetes"] == "pos")).mean()
    print(f"{type(model).__name__} is right about {right:.1%} of {len(table)} people")
    return table.sort_values("probability", ascending=False, kind="stable")
