"""Trains a small neural network on scikit-learn's 1,797 handwritten digits and measures it on images it never saw.

Parameters are one JSON object; they come from --parameters, --parameters-file or the environment variable MERIT_PARAMETERS.
Exit: 0 done, 1 the machine lacks something, 2 a parameter is wrong.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

# One BLAS thread: the same sums in the same order give the same weights, and a job asks for one core.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from parameters import MAX_JSON_CHARACTERS, TRAIN_POOL, BadParameters, read_parameters  # noqa: E402

SLICE_IMAGES = 64
HIDDEN_UNITS = 64
# The split and the slices do not depend on `seed`: every model, old or new, is judged on the same held-out images.
SPLIT_SEED = 1797
SLICE_SEED = 64
# About this many rows are shown in all, whatever the size of the training set: 1 s on one core.
ROWS_SHOWN = 200_000

HELP = """parameters (JSON; those marked * are required)
  model *          name in the reports, for instance "digits-v2"
  outputs *        "file:///absolute/folder", or "s3://bucket/prefix" where boto3 is installed
  train *          {"images": 10..1200 *, "rotations": [degrees, ...]}; each image is learned at each angle; default [0]
  evaluate *       {"slices": N *, "fromSlice": K, "drift": {"fromSlice": K, "degrees": D}}
                   N reports from slice K on (default 0); slices from drift.fromSlice on show their images rotated
  demotedAtTick    RFC 3339; the first slice is moved to this time or later
  suite            default "digits"
  producer         default "by-hand"
  seed             default 1; weights and batches, never the split or the slices
  epoch            time of slice 0, RFC 3339; default "2026-01-05T09:00:00Z"
  tickSeconds      time from one slice to the next; default 60
Angles are counter-clockwise, -180 to 180.

outputs
  weights.json     the layers: {"layers": [{"weights": [[...]], "bias": [...]}, ...]}
  model.json       parameters, data set, library versions, train accuracy, digest of the weights
  reports.ndjson   one EvalReport for each slice of 64 held-out images; written last

example
  python train.py --parameters '{"model": "digits-v1", "outputs": "file:///tmp/digits-v1",
    "train": {"images": 200}, "evaluate": {"slices": 10}}'
"""


def main():
    options = command_line()
    try:
        parameters = read_parameters(parameters_text(options))
    except BadParameters as bad:
        for problem in bad.problems:
            print(f"train.py: {problem}", file=sys.stderr)
        return 2
    try:
        store = open_store(parameters["destination"])
        run(parameters, store)
    except MachineLacks as lack:
        print(f"train.py: {lack}", file=sys.stderr)
        return 1
    return 0


def command_line():
    parser = argparse.ArgumentParser(
        prog="train.py", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--parameters", metavar="JSON", help="the parameters themselves")
    source.add_argument("--parameters-file", metavar="PATH", help="a file that holds them")
    return parser.parse_args()


def parameters_text(options):
    if options.parameters is not None:
        return options.parameters
    if options.parameters_file is not None:
        try:
            with open(options.parameters_file, encoding="utf-8") as file:
                return file.read(MAX_JSON_CHARACTERS + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise BadParameters([f"--parameters-file: cannot be read: {error} (name a UTF-8 JSON file)"]) from None
    if "MERIT_PARAMETERS" in os.environ:
        return os.environ["MERIT_PARAMETERS"]
    raise BadParameters(["parameters: none given (pass --parameters JSON or set MERIT_PARAMETERS; see --help)"])


class MachineLacks(Exception):
    """Not the caller's mistake: a package, a disk, a bucket. The message names the mend."""


def run(parameters, store):
    try:
        import numpy
        import scipy
        import sklearn
    except ImportError as error:
        raise MachineLacks(f"{error.name} is not installed (pip install scikit-learn)") from None
    images, labels, digest = load_images()
    order = numpy.random.default_rng(SPLIT_SEED).permutation(len(images))
    train_pool, held_out = order[:TRAIN_POOL], order[TRAIN_POOL:]

    layers, rows, accuracy = train(parameters, images[train_pool], labels[train_pool])
    print(f"trained {parameters['model']} on {rows} rows: {accuracy:.3f} right on its own training rows", flush=True)
    weights = encode({"layers": [{"weights": w.tolist(), "bias": b.tolist()} for w, b in layers]})
    reports = [
        slice_report(parameters, layers, images[held_out], labels[held_out], index)
        for index in slice_indices(parameters["evaluate"])
    ]
    for report in reports:
        print(f"{report['reportId']} {report['observedAt']} accuracy {report['metrics']['accuracy']:.3f}", flush=True)

    described = {key: value for key, value in parameters.items() if key not in ("destination", "outputs")}
    model = {
        "schemaVersion": 1,
        "model": parameters["model"],
        "parameters": {**described, "epoch": timestamp(parameters["epoch"])},
        "dataset": {
            "name": "scikit-learn load_digits",
            "sha256": digest,
            "images": len(images),
            "trainPool": len(train_pool),
            "heldOutPool": len(held_out),
        },
        "trainRows": rows,
        "trainAccuracy": accuracy,
        "weights": {"file": "weights.json", "sha256": hashlib.sha256(weights).hexdigest(), "activation": "relu"},
        "versions": {
            "python": platform.python_version(),
            "numpy": numpy.__version__,
            "scipy": scipy.__version__,
            "scikit-learn": sklearn.__version__,
        },
    }
    store("weights.json", weights)
    store("model.json", encode(model, indent=2))
    store("reports.ndjson", b"".join(encode(report) for report in reports))


def load_images():
    """(1797, 8, 8) of 0..1, their digits, and the SHA-256 of pixels then digits, one byte each."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, labels = bunch.images.astype("uint8"), bunch.target.astype("uint8")
    return pixels / 16, labels, hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()


def rotated(images, angle):
    """Bilinear, about the centre, counter-clockwise, black outside."""
    from scipy.ndimage import rotate

    return images if angle == 0 else rotate(images, angle, axes=(2, 1), reshape=False, order=1)


def train(parameters, pool, digits):
    """Returns the layers [(weights, bias), ...], the rows learned from, and the fraction of them it has right."""
    import numpy
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    count, angles = parameters["train"]["images"], parameters["train"]["rotations"]
    rows = numpy.concatenate([rotated(pool[:count], angle) for angle in angles]).reshape(-1, 64)
    answers = numpy.tile(digits[:count], len(angles))
    network = MLPClassifier(
        (HIDDEN_UNITS,),
        activation="relu",
        batch_size=min(64, len(rows)),
        learning_rate_init=3e-3,
        max_iter=max(20, min(200, ROWS_SHOWN // len(rows))),
        random_state=parameters["seed"],
    )
    # The number of passes is fixed on purpose; that it could learn on is no warning to anybody.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(rows, answers)
    layers = list(zip(network.coefs_, network.intercepts_))
    if layers[-1][0].shape[1] != 10:
        raise MachineLacks("the first training images do not show all ten digits (raise train.images)")
    return layers, len(rows), float((predict(layers, rows) == answers).mean())


def predict(layers, rows):
    """The forward pass on the weights as they are written: whoever reads weights.json gets the same answers."""
    import numpy

    (hidden_weights, hidden_bias), (weights, bias) = layers
    return (numpy.maximum(rows @ hidden_weights + hidden_bias, 0) @ weights + bias).argmax(axis=1)


def slice_indices(evaluate):
    return range(evaluate["fromSlice"], evaluate["fromSlice"] + evaluate["slices"])


def slice_report(parameters, layers, pool, digits, index):
    """Slice `index` is the same 64 held-out images for every model; from drift.fromSlice on all of them are rotated."""
    import numpy

    chosen = numpy.random.default_rng([SLICE_SEED, index]).choice(len(pool), SLICE_IMAGES, replace=False)
    drift = parameters["evaluate"].get("drift")
    angle = drift["degrees"] if drift is not None and index >= drift["fromSlice"] else 0
    rows = rotated(pool[chosen], angle).reshape(-1, 64)
    start = time.perf_counter_ns()
    answers = predict(layers, rows)
    nanoseconds = time.perf_counter_ns() - start
    right = int((answers == digits[chosen]).sum())
    return {
        "schemaVersion": 1,
        "reportId": f"{parameters['model']}-s{index}",
        "producer": parameters["producer"],
        "model": parameters["model"],
        "suite": parameters["suite"],
        "observedAt": timestamp(parameters["epoch"] + timedelta(seconds=parameters["tickSeconds"]) * index),
        "sampleSize": SLICE_IMAGES,
        "metrics": {"accuracy": right / SLICE_IMAGES, "latency_ms": nanoseconds / SLICE_IMAGES / 1e6},
        "labels": {"slice": str(index), "driftDegrees": str(angle)},
    }


def timestamp(moment):
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(value, indent=None):
    return (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode()


def open_store(destination):
    """A function store(name, bytes). Each file appears whole or not at all."""
    if destination[0] == "s3":
        return open_bucket(destination[1], destination[2])
    folder = Path(destination[1])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineLacks(f"outputs: cannot make the folder: {error} (choose one you may write)") from None

    def store(name, content):
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise MachineLacks(f"outputs: cannot write {name}: {error} (free some disk, or choose another folder)") from None

    return store


def open_bucket(bucket, prefix):
    try:
        import boto3
    except ImportError:
        raise MachineLacks("outputs: s3: needs boto3 (pip install boto3, or write to file:)") from None
    client = boto3.client("s3")

    def store(name, content):
        key = f"{prefix}/{name}" if prefix else name
        try:
            client.put_object(Bucket=bucket, Key=key, Body=content)
        except Exception as error:  # botocore's errors have no common public base: the words are the SDK's own
            raise MachineLacks(f"outputs: cannot put {name}: {error} (check bucket, credentials, network)") from None

    return store


if __name__ == "__main__":
    sys.exit(main())
