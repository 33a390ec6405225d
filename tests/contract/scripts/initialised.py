# dataset1: orders.csv
# parameters: {"more": 2}
import math


def init():
    return {"rate": math.sqrt(4)}


def azureml_main(orders, context, *, more: int = 0):
    return orders.assign(price=orders["price"] * context["rate"] + more)
