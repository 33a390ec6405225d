# dataset1: orders.csv
def azureml_main(orders):
    return [orders.sort_values("price", kind="stable")]
