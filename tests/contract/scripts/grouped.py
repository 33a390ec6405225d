# dataset1: orders.csv
def azureml_main(orders):
    orders["paid"] = orders["quantity"] * orders["price"]
    return orders.groupby(["customer", "product"], as_index=False).agg(paid=("paid", "sum"), mean=("price", "mean"), orders=("id", "count"))
