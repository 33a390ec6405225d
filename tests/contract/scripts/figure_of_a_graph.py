# dataset1: orders.csv
import networkx as nx


def azureml_main(orders):
    graph = nx.from_pandas_edgelist(orders, "customer", "product")
    nx.draw_networkx(graph, nx.spring_layout(graph, seed=5))
    return orders
