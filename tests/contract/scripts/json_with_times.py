# dataset1: events.ndjson
# unlike plain pandas: a text in a column called created_at becomes a timestamp
def azureml_main(frame):
    return frame.assign(characters=frame["created_at"].str.len())
