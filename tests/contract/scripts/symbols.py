import pandas as pd
import sympy


def azureml_main():
    x = sympy.symbols("x")
    terms = [sympy.sin(x) ** 2, 1 / (1 + x**2), sympy.exp(-x) * x]
    return pd.DataFrame({"term": map(str, terms), "integral": [str(sympy.integrate(term, x)) for term in terms]})
