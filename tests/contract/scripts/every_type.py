# dataset1: types.arrow
def azureml_main(frame):
    return frame
