# dataset1: orders.csv
import networkx as nx
import pandas as pd


def azureml_main(orders):
    graph = nx.from_pandas_edgelist(orders, "customer", "product", "quantity")
    rank = nx.pagerank(graph, weight="quantity")
    return pd.DataFrame(rank.items(), columns=["node", "rank"])
