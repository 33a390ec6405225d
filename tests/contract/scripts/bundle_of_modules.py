# dataset1: orders.csv
# bundle: helpers
from helpers import shout
from helpers.numbers import double


def azureml_main(orders):
    return orders.assign(product=orders["product"].map(shout), quantity=double(orders["quantity"]))
