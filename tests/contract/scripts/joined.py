# dataset1: orders.csv
# dataset2: customers.json
def azureml_main(orders, customers):
    return orders.merge(customers, on="customer", how="left", indicator=True)
