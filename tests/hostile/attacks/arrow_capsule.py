# expect: bad_return
# promise: 6
"""Returns an object whose Arrow stream raises, which the runner imports in its own process."""

class Table:
    def __arrow_c_stream__(self, requested_schema=None):
        raise RuntimeError("no stream for you")


def azureml_main():
    return Table()
