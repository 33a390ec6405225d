# dataset1: orders.csv
def azureml_main(orders):
    return orders[orders["price"] < 0]
