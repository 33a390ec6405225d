"""The model's class. It travels with the pickle: a pickle holds values, and finds the class by the name of its module."""

import numpy as np


class Scorecard:
    """Logistic regression: `columns` with a weight and a usual value each."""

    def __init__(self, columns, usual, spread, weights, offset):
        self.columns = columns
        self.usual, self.spread = np.asarray(usual), np.asarray(spread)
        self.weights, self.offset = np.asarray(weights), offset

    def probability(self, frame):
        standard = (frame[self.columns].to_numpy(float) - self.usual) / self.spread
        return 1 / (1 + np.exp(-(standard @ self.weights + self.offset)))
