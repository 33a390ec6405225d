# expect: script_error
# promise: 6
"""Raises an error whose text, type and causes lie, are endless, and run in circles."""


class Endless(Exception):
    def __str__(self):
        raise self

    __repr__ = __str__

    def __getattribute__(self, name):
        if name in ("args", "__notes__"):
            raise Endless
        return super().__getattribute__(name)


def azureml_main():
    one, other = Endless("x" * 10**7), Endless()
    one.__cause__, other.__cause__ = other, one
    one.__context__, other.__context__ = other, one
    Endless.__qualname__ = "\ud800" + "x" * 10**6
    raise one
