# dataset2: orders.csv
def azureml_main(first, second=None):
    return first.assign(second_is_none=second is None)
