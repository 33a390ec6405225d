# dataset1: diabetes.csv
import matplotlib.pyplot as plt
import statsmodels.api as sm


def azureml_main(people):
    model = sm.OLS(people["plasma_glucose"], sm.add_constant(people[["age"]])).fit()
    figure = sm.qqplot(model.resid, line="s")
    figure.savefig("quantiles.png")
    plt.close()
    return model.resid.to_frame("residual")
