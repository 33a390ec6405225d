# dataset1: orders.csv
# dataset2: customers.json
import duckdb


def azureml_main(orders, customers):
    duckdb.sql("set threads to 1")
    paid = "select city, sum(quantity * price) as paid, count(*) as orders from orders join customers using (customer)"
    return duckdb.sql(f"{paid} group by city order by city").df()
