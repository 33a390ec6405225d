# dataset1: words.csv
def azureml_main(words):
    text = words["word"].str
    parts = text.extract(r"(?P<head>.)(?P<tail>.*)")
    return words.assign(upper=text.upper(), letters=text.len(), vowels=text.count("[aeiou]"), padded=text.zfill(12)).join(parts)
