# dataset1: diabetes.csv
def azureml_main(people):
    table = people[["age", "plasma_glucose"]]
    age = table["age"]
    return table.rank(method="dense").assign(change=age.pct_change(), total=age.cumsum(), shifted=age.shift(2))
