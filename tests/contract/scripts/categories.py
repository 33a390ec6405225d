# dataset1: types.arrow
def azureml_main(frame):
    counts = frame["size"].value_counts(sort=False).reset_index()
    large = frame[frame["size"] >= "m"]
    return counts, large[["size", "colour"]].assign(colour=large["colour"].cat.add_categories(["none"]))
