# dataset1: diabetes.csv
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA


def azureml_main(people):
    numbers = people.select_dtypes("number")
    flat = PCA(2).fit_transform(numbers)
    return people.assign(x=flat[:, 0], y=flat[:, 1], cluster=KMeans(3, n_init=4, random_state=0).fit_predict(numbers))
