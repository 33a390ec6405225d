# dataset1: orders.csv
import sqlite3

import pandas as pd


def azureml_main(orders):
    orders.to_excel("orders.xlsx", index=False)
    orders.to_parquet("orders.parquet")
    with sqlite3.connect("orders.db") as database:
        orders.to_sql("orders", database, index=False)
        stored = pd.read_sql("select * from orders order by id desc", database)
    parts = {"excel": pd.read_excel("orders.xlsx"), "parquet": pd.read_parquet("orders.parquet"), "sql": stored}
    return pd.concat(parts, names=["source"]).reset_index("source")
