# dataset1: gaps.arrow
# unlike plain pandas: integers with gaps become floats
def azureml_main(frame):
    return (frame,)
