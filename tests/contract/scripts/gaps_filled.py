# dataset1: gaps.csv
# unlike plain pandas: integers with gaps become floats
def azureml_main(frame):
    kept = frame[frame["flag"].fillna(False)]
    return kept.assign(whole=kept["whole"].fillna(0), text=kept["text"].fillna("none"))
