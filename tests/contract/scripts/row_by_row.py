# dataset1: orders.csv
def azureml_main(orders):
    return orders.apply(lambda row: row.drop("id").map(str).str.cat(sep="-"), axis="columns").to_frame("line")
