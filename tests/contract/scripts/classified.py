# dataset1: diabetes.csv
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def azureml_main(people):
    features, target = people.drop(columns="diabetes"), people["diabetes"]
    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "boosting": GradientBoostingClassifier(n_estimators=20, random_state=0),
    }
    return pd.DataFrame({name: cross_val_score(model, features, target, cv=4) for name, model in models.items()})
