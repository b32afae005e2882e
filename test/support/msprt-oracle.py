"""The always-valid test of scoring.md over recorded streams, in numpy, to hold Merit's promotions against.

  msprt-oracle.py FILE PAIRS LOOKS REPORTS_A_LOOK

FILE holds doubles: pair, arm (candidate, incumbent), report, (value, weight). Prints for each pair the first look at which the
evidence holds, the look at which it has held three times in a row, and the log likelihood ratio at every look.
"""
import json
import math
import sys

import numpy

ALPHA, MIX, LEAST, RUN = 0.05, 0.04, 30, 3


def arm(values, weights, looks, each):
    """n, Σw, mean and variance after each look."""
    at = numpy.arange(1, looks + 1) * each - 1
    total = weights.cumsum(axis=1)[:, at]
    mean = (weights * values).cumsum(axis=1)[:, at] / total
    squares = (weights * values * values).cumsum(axis=1)[:, at]
    return at + 1, total, mean, (squares - total * mean * mean) / at


def main(path, pairs, looks, each):
    streams = numpy.fromfile(path).reshape(pairs, 2, looks * each, 2)
    n, total_a, mean_a, var_a = arm(streams[:, 0, :, 0], streams[:, 0, :, 1], looks, each)
    _, total_b, mean_b, var_b = arm(streams[:, 1, :, 0], streams[:, 1, :, 1], looks, each)
    d = mean_a - mean_b
    v = var_a / total_a + var_b / total_b
    tau = MIX * ((n - 1) * var_a + (n - 1) * var_b) / (2 * n - 2)
    ratio = 0.5 * numpy.log(v / (v + tau)) + tau * d * d / (2 * v * (v + tau))
    holds = (d > 0) & (ratio >= -math.log(ALPHA)) & (n >= LEAST)
    run = holds.copy()
    for back in range(1, RUN):
        run[:, back:] &= holds[:, :-back]
        run[:, :back] = False
    first = lambda which: [int(row.argmax()) + 1 if row.any() else None for row in which]
    print(json.dumps({"heldAt": first(holds), "promotedAt": first(run), "ratio": ratio.tolist()}))


main(sys.argv[1], *map(int, sys.argv[2:]))
