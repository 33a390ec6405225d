# dataset1: types.arrow
def azureml_main(frame):
    return frame[["text", "list"]].explode("list", ignore_index=True), frame[["list"]].assign(length=frame["list"].map(len))
