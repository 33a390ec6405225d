"""Makes the model that `script.py` uses: `outputs/diabetes.pkl` comes back as an artifact, and belongs into `bundle/models/`.

Logistic regression by Newton's method, in the twelve lines it takes.
"""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
from scorecard import Scorecard

COLUMNS = ["plasma_glucose", "body_mass_index", "age", "pregnancies"]


def azureml_main(dataframe1):
    values, target = dataframe1[COLUMNS].to_numpy(float), (dataframe1["diabetes"] == "pos").to_numpy(float)
    usual, spread = values.mean(axis=0), values.std(axis=0)
    standard = np.column_stack([(values - usual) / spread, np.ones(len(values))])
    weights = np.zeros(standard.shape[1])
    for _ in range(8):
        probability = 1 / (1 + np.exp(-standard @ weights))
        curvature = standard.T @ (standard * (probability * (1 - probability))[:, None])
        weights += np.linalg.solve(curvature, standard.T @ (target - probability))
    # Rounded, so that another processor's last digit makes no other model.
    card = Scorecard(COLUMNS, usual.round(4), spread.round(4), weights[:-1].round(4), round(float(weights[-1]), 4))
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/diabetes.pkl").write_bytes(pickle.dumps(card, protocol=5))
    return pd.DataFrame({"column": COLUMNS, "weight": card.weights})
