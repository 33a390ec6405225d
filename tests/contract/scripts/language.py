# dataset1: words.csv
import pandas as pd
from nltk.stem import PorterStemmer
from rapidfuzz import fuzz


def azureml_main(words):
    stem = PorterStemmer().stem
    return pd.DataFrame({"stem": words["word"].map(stem), "like": [fuzz.ratio(word, "experiment") for word in words["word"]]})
