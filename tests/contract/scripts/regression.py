# dataset1: diabetes.csv
import pandas as pd
import statsmodels.formula.api as smf


def azureml_main(people):
    model = smf.ols("plasma_glucose ~ age + body_mass_index + C(diabetes)", people).fit()
    return pd.DataFrame({"term": model.params.index, "weight": model.params.array, "p": model.pvalues.array, "error": model.bse.array})
