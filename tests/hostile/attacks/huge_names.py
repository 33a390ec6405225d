# expect: ok
# promise: 6
"""Returns columns whose names are as long, as strange and as many as can be, and that repeat."""

import pandas


def azureml_main():
    names = ["", " ", "\0", "\n", "../../x", "a" * 5000, "\u202e", "\ufeff", "é", "e\u0301", "=cmd|' /C calc'!A0", "<script>", "%s%n", "${jndi:x}", None, 1.5, ("a", "b"), "\ud800"]
    return pandas.DataFrame([[1] * 2 * len(names)], columns=names * 2)
