# dataset1: words.csv
import pandas as pd


def azureml_main(words):
    return pd.DataFrame({"word": list(set(words["word"])), "hash": [hash(word) for word in set(words["word"])]})
