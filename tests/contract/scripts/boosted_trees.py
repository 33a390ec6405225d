# dataset1: diabetes.csv
import lightgbm
import pandas as pd
import xgboost


def azureml_main(people):
    features, target = people.drop(columns="diabetes"), (people["diabetes"] == "pos").astype(int)
    light = lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1, random_state=0).fit(features, target)
    extreme = xgboost.XGBClassifier(n_estimators=20, n_jobs=1, random_state=0).fit(features, target)
    return pd.DataFrame({"light": light.predict_proba(features)[:, 1], "extreme": extreme.predict_proba(features)[:, 1]})
