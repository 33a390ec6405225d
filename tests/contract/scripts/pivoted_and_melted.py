# dataset1: orders.csv
def azureml_main(orders):
    wide = orders.pivot_table(index="customer", columns="product", values="quantity", aggfunc="sum", fill_value=0).reset_index()
    return wide, wide.melt("customer", value_name="quantity")
