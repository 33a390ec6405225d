"""Words of a text, without the small ones."""

import re

SMALL = {"a", "and", "as", "in", "is", "it", "may", "of", "one", "out", "that", "the", "to", "too", "two", "was", "you"}


def words(text):
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word not in SMALL]
