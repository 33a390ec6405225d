# dataset1: orders.csv
def azureml_main(orders):
    return orders.groupby("product").agg({"quantity": ["sum", "max"], "price": "mean"}).reset_index()
