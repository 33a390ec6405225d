# dataset1: orders.csv
def azureml_main(orders):
    return orders.head(3), orders.tail(2)
