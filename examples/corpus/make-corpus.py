"""Measures 58 scikit-learn classifiers on held-out examples of four bundled data sets and writes one EvalReport for each example.

  python make-corpus.py FOLDER [--examples N] [--quick]

FOLDER/reports.ndjson   one report a line: a model on one example, each number measured here
FOLDER/corpus.json      what was measured: time of the scores, counts, versions

--examples N   the first N of the 808 held-out examples (default: all)
--quick        twelve of the models that train in no time

Everything is seeded: the same versions on the same machine give the same bytes. Only the times are a schedule and not a
measurement: examples are laid over eight days, ever denser, so that every window of the suite holds some and some lie outside all.
"""

import argparse
import json
import os
import sys
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

# One BLAS thread: the same sums in the same order.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy  # noqa: E402
import scipy  # noqa: E402
import sklearn  # noqa: E402
from sklearn import datasets  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis  # noqa: E402
from sklearn.dummy import DummyClassifier  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier  # noqa: E402
from sklearn.multiclass import OneVsRestClassifier, OutputCodeClassifier  # noqa: E402
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler, StandardScaler  # noqa: E402
from sklearn.svm import SVC, LinearSVC, NuSVC  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier  # noqa: E402

SEED = 20261123
HELD_OUT_SHARE = 0.3
DATA_SETS = {
    "digits": datasets.load_digits,
    "cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "iris": datasets.load_iris,
}
# The instant of the scores, off every step of every window on purpose.
AT = datetime(2026, 11, 23, 12, 7, 31, tzinfo=timezone.utc)
SPAN = timedelta(days=8)
# An example is shown this many times, the first as it is and the others with noise of a tenth of each feature's deviation. A report is
# the mean over these; their number is its sampleSize. Powers of two: the share that was right is exact.
COPIES = [1, 2, 4, 8]
NOISE = 0.1
# A probability of zero would be infinitely surprising.
LEAST_PROBABILITY = 1e-9


def scaled(estimator):
    return make_pipeline(StandardScaler(), estimator)


def positive(estimator):
    """For models of counts, which take no negative feature."""
    return make_pipeline(MinMaxScaler(clip=True), estimator)


def models():
    """name → a fresh, unfitted classifier."""
    tree, seed = DecisionTreeClassifier, {"random_state": 1}
    return {
        "dummy-prior": DummyClassifier(strategy="prior"),
        "dummy-stratified": DummyClassifier(strategy="stratified", **seed),
        "centroid": scaled(NearestCentroid()),
        "centroid-manhattan": scaled(NearestCentroid(metric="manhattan")),
        "knn-1": scaled(KNeighborsClassifier(1)),
        "knn-3": scaled(KNeighborsClassifier(3)),
        "knn-5": scaled(KNeighborsClassifier(5)),
        "knn-15": scaled(KNeighborsClassifier(15)),
        "knn-15-distance": scaled(KNeighborsClassifier(15, weights="distance")),
        "nb-gaussian": scaled(GaussianNB()),
        "nb-gaussian-smooth": scaled(GaussianNB(var_smoothing=0.1)),
        "nb-bernoulli": scaled(BernoulliNB()),
        "nb-multinomial": positive(MultinomialNB()),
        "nb-complement": positive(ComplementNB()),
        "lda": scaled(LinearDiscriminantAnalysis()),
        "lda-shrunk": scaled(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
        "qda-0.1": scaled(QuadraticDiscriminantAnalysis(reg_param=0.1)),
        "qda-0.5": scaled(QuadraticDiscriminantAnalysis(reg_param=0.5)),
        "logistic-0.01": scaled(LogisticRegression(C=0.01, max_iter=300)),
        "logistic-1": scaled(LogisticRegression(C=1, max_iter=300)),
        "logistic-100": scaled(LogisticRegression(C=100, max_iter=300)),
        "ridge-1": scaled(RidgeClassifier(alpha=1)),
        "ridge-1000": scaled(RidgeClassifier(alpha=1000)),
        "perceptron": scaled(Perceptron(**seed)),
        "sgd-hinge": scaled(SGDClassifier(loss="hinge", **seed)),
        "sgd-log": scaled(SGDClassifier(loss="log_loss", **seed)),
        "sgd-huber": scaled(SGDClassifier(loss="modified_huber", **seed)),
        "svc-linear": scaled(SVC(kernel="linear")),
        "svc-linear-dual": scaled(LinearSVC(C=0.1, **seed)),
        "svc-rbf-1": scaled(SVC(C=1)),
        "svc-rbf-10": scaled(SVC(C=10)),
        "svc-poly": scaled(SVC(kernel="poly", degree=3)),
        "svc-nu": scaled(NuSVC(nu=0.1)),
        "tree-2": tree(max_depth=2, **seed),
        "tree-5": tree(max_depth=5, **seed),
        "tree-full": tree(**seed),
        "tree-entropy": tree(criterion="entropy", min_samples_leaf=5, **seed),
        "tree-extra": ExtraTreeClassifier(**seed),
        "forest-10": RandomForestClassifier(10, **seed),
        "forest-50": RandomForestClassifier(50, **seed),
        "forest-50-depth-3": RandomForestClassifier(50, max_depth=3, **seed),
        "extra-trees-50": ExtraTreesClassifier(50, **seed),
        "bagging-tree": BaggingClassifier(tree(max_depth=8), 10, **seed),
        "bagging-knn": scaled(BaggingClassifier(KNeighborsClassifier(3), 5, max_samples=0.5, **seed)),
        "adaboost-10": AdaBoostClassifier(tree(max_depth=2), n_estimators=10, **seed),
        "adaboost-40": AdaBoostClassifier(tree(max_depth=3), n_estimators=40, **seed),
        "boosting-10": GradientBoostingClassifier(n_estimators=10, max_features="sqrt", **seed),
        "boosting-40": GradientBoostingClassifier(n_estimators=40, max_depth=2, max_features="sqrt", **seed),
        "histogram-boosting": HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=8, **seed),
        "mlp-8": scaled(MLPClassifier((8,), max_iter=60, **seed)),
        "mlp-32": scaled(MLPClassifier((32,), max_iter=60, **seed)),
        "mlp-32-tanh": scaled(MLPClassifier((32,), activation="tanh", max_iter=60, **seed)),
        "calibrated-svc": scaled(CalibratedClassifierCV(LinearSVC(C=0.1, **seed), cv=3)),
        "calibrated-nb": scaled(CalibratedClassifierCV(GaussianNB(), cv=3)),
        "one-vs-rest": scaled(OneVsRestClassifier(LogisticRegression(C=0.1, max_iter=200))),
        "output-code": OutputCodeClassifier(tree(max_depth=6, **seed), code_size=2, **seed),
        "voting": scaled(VotingClassifier([("nb", GaussianNB()), ("knn", KNeighborsClassifier(5)), ("lda", LinearDiscriminantAnalysis())], voting="soft")),
        "stacking": scaled(StackingClassifier([("nb", GaussianNB()), ("knn", KNeighborsClassifier(5))], LogisticRegression(max_iter=200), cv=3)),
    }


QUICK = ["dummy-prior", "dummy-stratified", "centroid", "knn-1", "knn-15", "nb-gaussian", "nb-bernoulli", "lda", "ridge-1", "tree-2", "tree-full", "qda-0.5"]


def split():
    """Per data set what is learned from, and the held-out examples of all of them in one seeded order."""
    train, examples = {}, []
    random = numpy.random.default_rng(SEED)
    for name, load in DATA_SETS.items():
        rows, classes = load(return_X_y=True)
        order = random.permutation(len(rows))
        held_out = round(len(rows) * HELD_OUT_SHARE)
        train[name] = (rows[order[held_out:]], classes[order[held_out:]])
        deviation = train[name][0].std(axis=0)
        examples += [(name, int(at), rows[at], int(classes[at]), deviation) for at in order[:held_out]]
    shuffled = [examples[at] for at in random.permutation(len(examples))]
    return train, [shown(example, index) for index, example in enumerate(shuffled)]


def shown(example, index):
    """The example with its noisy copies; every model sees the same ones."""
    name, at, row, truth, deviation = example
    count = COPIES[index % len(COPIES)]
    noise = numpy.random.default_rng([SEED, index]).normal(0, NOISE, (count, len(row))) * deviation
    noise[0] = 0
    return {"set": name, "row": at, "truth": truth, "copies": row + noise}


def measure(make, train, examples):
    """One dict of metrics an example, in order."""
    measured = [None] * len(examples)
    for name, (rows, classes) in train.items():
        places = [index for index, example in enumerate(examples) if example["set"] == name]
        if not places:
            continue
        model = sklearn.clone(make).fit(rows, classes)
        copies = numpy.concatenate([examples[index]["copies"] for index in places])
        right = model.predict(copies)
        likely = model.predict_proba(copies) if has_probabilities(make) else None
        start = 0
        for index in places:
            end = start + len(examples[index]["copies"])
            truth = examples[index]["truth"]
            measured[index] = metrics(right[start:end] == truth, None if likely is None else likely[start:end], truth)
            start = end
    return measured


def has_probabilities(model):
    """Of some models `predict_proba` is there and means nothing: the nearest centroid has no notion of a probability."""
    last = model[-1] if hasattr(model, "steps") else model
    return hasattr(last, "predict_proba") and not isinstance(last, (NearestCentroid, SVC, NuSVC))


def metrics(right, likely, truth):
    out = {"correct": float(right.mean())}
    if likely is None:
        return out
    one_hot = numpy.zeros(likely.shape[1])
    one_hot[truth] = 1
    of_truth = likely[:, truth]
    others = numpy.delete(likely, truth, axis=1).max(axis=1)
    out["brier"] = float(((likely - one_hot) ** 2).sum(axis=1).mean())
    out["surprise"] = float(-numpy.log(numpy.maximum(of_truth, LEAST_PROBABILITY)).mean())
    out["margin"] = float((of_truth - others).mean())
    out["gap"] = float(numpy.abs(likely.max(axis=1) - right).mean())
    return out


def observed_at(index, count, model):
    """Ever denser towards AT: a quarter of the examples in the last hour, some before the longest window."""
    age = SPAN * ((count - index) / count) ** 4
    at = AT - age + timedelta(milliseconds=model)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def report(model, number, example, index, count, measured):
    return {
        "schemaVersion": 1,
        "reportId": f"{model}.{example['set']}.{example['row']}",
        "producer": "make-corpus",
        "model": model,
        "suite": "scikit-learn",
        "observedAt": observed_at(index, count, number),
        "sampleSize": len(example["copies"]),
        "metrics": measured,
        "labels": {"dataSet": example["set"], "row": str(example["row"])},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    # That few passes leave something to learn is no warning to anybody.
    warnings.simplefilter("ignore")
    train, examples = split()
    examples = examples[: options.examples]
    chosen = {name: model for name, model in models().items() if not options.quick or name in QUICK}
    options.folder.mkdir(parents=True, exist_ok=True)
    with open(options.folder / "reports.ndjson", "w", encoding="utf-8") as out:
        for number, (name, model) in enumerate(chosen.items()):
            for index, measured in enumerate(measure(model, train, examples)):
                line = report(name, number, examples[index], index, len(examples), measured)
                out.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")
            if sys.stderr.isatty():
                print(f"{number + 1} of {len(chosen)}: {name}", file=sys.stderr)
    described = {
        "at": AT.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "models": len(chosen),
        "examples": len(examples),
        "reports": len(chosen) * len(examples),
        "versions": {"numpy": numpy.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
    }
    (options.folder / "corpus.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
