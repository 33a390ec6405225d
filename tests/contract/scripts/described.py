# dataset1: diabetes.csv
def azureml_main(people):
    return people.describe().reset_index(), people.corr(numeric_only=True, method="spearman").reset_index()
