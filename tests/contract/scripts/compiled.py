import numba
import pandas as pd


@numba.njit
def collatz(number):
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def azureml_main():
    return pd.DataFrame({"number": range(1, 200), "steps": [collatz(number) for number in range(1, 200)]})
