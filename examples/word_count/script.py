"""A bundle with directories: a package `tools/` to import, and texts in `texts/` to read. Counts their words."""

from collections import Counter
from pathlib import Path

import pandas as pd
from tools.words import words


def azureml_main():
    texts = sorted(Path("Script Bundle/texts").glob("*.txt"))
    counts = Counter(word for path in texts for word in words(path.read_text(encoding="utf-8")))
    print(f"{counts.total()} words, {len(counts)} different ones, in {', '.join(path.name for path in texts)}")
    # Ties by the alphabet, so that the order says nothing about how Python counts.
    ranking = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return pd.DataFrame(ranking, columns=["word", "count"])
