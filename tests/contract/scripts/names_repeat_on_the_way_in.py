# dataset1: twice.csv
# unlike plain pandas: the second column called a becomes a.1
def azureml_main(frame):
    return frame.assign(names=", ".join(frame.columns))
