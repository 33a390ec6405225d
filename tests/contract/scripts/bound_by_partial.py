# dataset1: orders.csv
import functools


def scaled(frame, factor):
    return frame.assign(price=frame["price"] * factor)


azureml_main = functools.partial(scaled, factor=3)
