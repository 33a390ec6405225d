# dataset1: orders.csv
def azureml_main(orders):
    return orders.set_index("id").sort_index(ascending=False)
