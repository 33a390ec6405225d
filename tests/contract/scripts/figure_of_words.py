# dataset1: words.csv
from wordcloud import WordCloud


def azureml_main(words):
    counts = words["word"].value_counts()
    WordCloud(width=300, height=200, random_state=3).generate_from_frequencies(counts).to_file("cloud.png")
    return counts.sort_index().reset_index()
