"""A module from a bundle: `Hello.zip` holds `Hello.py`, and what it prints stands in the job's log."""

from Hello import print_hello


def azureml_main(dataframe1=None, dataframe2=None):
    for name in dataframe1["name"]:
        print_hello(name)
    return (dataframe1.assign(letters=dataframe1["name"].str.len()),)
