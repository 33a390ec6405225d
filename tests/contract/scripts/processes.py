import math
from concurrent.futures import ProcessPoolExecutor

import pandas as pd


def azureml_main():
    with ProcessPoolExecutor(2) as pool:
        return pd.DataFrame({"n": range(10), "factorial": pool.map(math.factorial, range(10))})
