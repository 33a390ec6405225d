# expect: output_too_large
# promise: 5
"""Claims ten terabytes with one byte."""

def azureml_main():
    with open("/out/files.bin", "r+b", buffering=0) as file:
        file.seek(10 * 2**40)
        file.write(b"x")
