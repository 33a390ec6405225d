# dataset1: gaps.csv
# unlike plain pandas: integers with gaps become floats
def azureml_main(frame):
    whole = frame["whole"]
    return frame.assign(double=whole * 2, third=whole / 3, both=frame["flag"] & (whole > 1), part=frame["part"] + 1)
