# dataset1: types.parquet
def azureml_main(frame):
    return frame.iloc[::-1]
