# dataset1: orders.csv
# parameters: {"least": 2, "dear": true}
def azureml_main(orders, *, least: int, share: float = 0.5, product: str = "tea", dear: bool = False):
    kept = orders[(orders["quantity"] >= least) & ((orders["price"] > 2) == dear)]
    return kept.assign(share=share, wanted=kept["product"] == product)
