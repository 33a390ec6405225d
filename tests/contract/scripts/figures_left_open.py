# dataset1: orders.csv
import matplotlib.pyplot as plt


def azureml_main(orders):
    orders.plot.bar(x="id", y="price")
    plt.figure()
    plt.plot(orders["quantity"])
    plt.savefig("saved.png")
    plt.figure(7)
    plt.scatter(orders["price"], orders["quantity"])
    plt.show()
    return orders
