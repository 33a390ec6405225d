import random

import numpy as np
import pandas as pd


def azureml_main():
    random.seed(7)
    chance = np.random.default_rng(7)
    np.random.seed(7)
    return pd.DataFrame({"python": [random.gauss() for _ in range(50)], "new": chance.normal(size=50), "old": np.random.rand(50)})
