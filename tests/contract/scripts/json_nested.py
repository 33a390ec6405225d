# dataset1: nested.json
def azureml_main(frame):
    return frame.assign(first=frame["tags"].str[0], x=[place["x"] for place in frame["place"]])
