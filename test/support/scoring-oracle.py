"""An independent reading of the scoring rules with numpy and scipy, to hold Merit's numbers against.

  scoring-oracle.py generate FOLDER     writes suite.json and reports.ndjson (seeded)
  scoring-oracle.py expect FOLDER AT    prints what the scores at AT must be, and the intervals they were mapped from
  scoring-oracle.py proof FOLDER AT     reads published JSON on stdin, prints inputDigest and checksum recomputed
"""
import bisect
import hashlib
import json
import math
import os
import random
import sys
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import numpy
import scipy.stats

AT = datetime(2026, 11, 23, 12, 7, 31, tzinfo=timezone.utc)
WINDOWS = {"1h": (3600, 60), "24h": (86400, 900), "7d": (604800, 3600)}
DEFAULTS = {"tick": "15m", "windows": {"1h": 0.5, "24h": 0.3, "7d": 0.2}, "minN": 30, "minWeight": 0, "shrinkage": {"kappa": 20, "prior": 0.5}}
METRIC_DEFAULTS = {"kind": "mean", "scale": 6, "weight": 1, "required": False}
TRIALS = [1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100]
SUITE = {
    "apiVersion": "merit/v1", "kind": "Suite", "name": "oracle", "minN": 20,
    "metrics": {
        "accuracy": {"direction": "higher", "floor": 0.2, "ceil": 0.9, "required": True},
        "latency_ms": {"direction": "lower", "kind": "quantile", "quantile": 0.95, "scale": 3, "floor": 1000, "ceil": 100, "weight": 0.5},
        "solved": {"direction": "higher", "kind": "binary", "floor": 0, "ceil": 1, "weight": 2},
        "perplexity": {"direction": "lower", "scale": 4},
        "delta": {"direction": "higher", "kind": "quantile", "quantile": 0.5, "scale": 2, "floor": -50, "ceil": 50},
    },
    "cohort": {"version": 1, "metrics": {"perplexity": {"median": 12.1, "mad": 0.8, "meanAd": 1.1}}},
}


def generate(folder):
    random.seed(20261123)
    with open(os.path.join(folder, "suite.json"), "w") as out:
        json.dump(SUITE, out)
    with open(os.path.join(folder, "reports.ndjson"), "w") as out:
        for i in range(6000):
            age = random.random() ** 3 * 8 * 86400
            at = AT - timedelta(milliseconds=int(age * 1000))
            weight = random.choice(TRIALS)
            metrics = {
                "accuracy": round(min(max(random.gauss(0.7, 0.1), 0), 1), 6),
                "latency_ms": round(random.lognormvariate(5, 0.7), 3),
                "solved": random.randrange(weight + 1) / weight,
                "perplexity": round(random.gauss(12, 2), 4),
                "delta": round(random.gauss(-3, 30), 2),
            }
            if random.random() < 0.2:
                del metrics[random.choice(["solved", "perplexity", "delta"])]
            report = {
                "schemaVersion": 1, "reportId": "r%d" % i, "producer": "p", "model": "m%d" % (i % 8 if i % 97 else 99),
                "suite": "oracle", "observedAt": at.strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (at.microsecond // 1000),
                "sampleSize": weight, "metrics": metrics, "labels": {"note": "ä€"},
            }
            print(json.dumps(report, ensure_ascii=False), file=out)


def load(folder):
    with open(os.path.join(folder, "reports.ndjson")) as lines:
        return [json.loads(line) for line in lines]


def load_suite(folder):
    """The suite with its defaults filled in."""
    with open(os.path.join(folder, "suite.json")) as given:
        suite = json.load(given)
    metrics = {name: {**METRIC_DEFAULTS, **rule} for name, rule in suite["metrics"].items()}
    return {**DEFAULTS, **suite, "metrics": metrics}


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


BOUNDS, VALUES = [], []
_power = Fraction(1)
while not BOUNDS or BOUNDS[-1] < 2**40:
    BOUNDS.append(math.floor(_power))
    VALUES.append(float(_power * Fraction(99, 100)))
    _power *= Fraction(101, 99)


def sketch(q):
    """The value of q's bucket, by the rule itself."""
    return math.copysign(VALUES[bisect.bisect_left(BOUNDS, abs(q))], q) if q else 0.0


def normalise(suite, name, x):
    rule = suite["metrics"][name]
    if "floor" in rule:
        return min(max((x - rule["floor"]) / (rule["ceil"] - rule["floor"]), 0), 1)
    cohort = suite["cohort"]["metrics"][name]
    z = min(max((x - cohort["median"]) / (1.4826 * cohort["mad"]), -6), 6)
    z = -z if rule["direction"] == "lower" else z
    return (1 + z / (1 + abs(z))) / 2


def metric(suite, name, pairs):
    """(what is published, the standard error and interval behind it)"""
    rule, n = suite["metrics"][name], len(pairs)
    if n == 0:
        return {"n": 0, "weight": 0, "score": None}, None
    scale = rule["scale"]
    weights = numpy.array([w for w, _ in pairs], dtype=numpy.float64)
    # numpy rounds ties to even, as the rule asks.
    q = numpy.rint(numpy.array([x for _, x in pairs], dtype=numpy.float64) * 10.0**scale)
    values = q / 10.0**scale
    total = float(weights.sum())
    mean = float(numpy.average(values, weights=weights))
    variance = float((weights * (values - mean) ** 2).sum() / (n - 1)) if n > 1 else None
    low, high = float(values.min()), float(values.max())
    bins = sorted(sketch(int(one)) for one in q)
    at = lambda rank: min(max(bins[min(max(rank, 1), n) - 1] / 10**scale, low), high)
    out = {"n": n, "weight": int(total), "mean": mean, "variance": variance, "min": low, "max": high,
           "p50": at(math.ceil(n * 0.5)), "p95": at(math.ceil(n * 0.95)), "score": None}
    if n < suite["minN"] or total < suite["minWeight"]:
        return out, None
    error = math.sqrt(variance / total)
    if (weights == 1).all() and error > 0:
        assert math.isclose(error, scipy.stats.sem(values), rel_tol=1e-9)
    if rule["kind"] == "binary":
        wins = round(sum(w * x for w, x in pairs))
        interval = scipy.stats.binomtest(wins, int(total)).proportion_ci(method="wilson")
        statistic, ends = wins / total, (interval.low, interval.high)
    elif rule["kind"] == "quantile":
        p = rule["quantile"]
        half = scipy.stats.norm.ppf(0.975) * math.sqrt(n * p * (1 - p))
        statistic = at(math.ceil(n * p))
        ends = (at(math.ceil(n * p - half)), at(math.ceil(n * p + half)))
        # The sketch's promise, against the data themselves; ⌊·⌋ of its bounds costs one unit of q more.
        exact = numpy.quantile(values, p, method="inverted_cdf")
        assert abs(statistic - exact) <= 0.01 * abs(exact) + 10.0**-scale
    else:
        statistic = mean
        ends = scipy.stats.t.interval(0.95, n - 1, loc=mean, scale=error) if error > 0 else (mean, mean)
    shrinkage = suite["shrinkage"]
    shrink = lambda s: (n * s + shrinkage["kappa"] * shrinkage["prior"]) / (n + shrinkage["kappa"])
    sides = sorted(shrink(normalise(suite, name, end)) for end in ends)
    out.update(score=shrink(normalise(suite, name, statistic)), lower=sides[0], upper=sides[1])
    return out, {"standardError": error, "low": float(ends[0]), "high": float(ends[1])}


def combine(parts):
    if not parts:
        return {"score": None, "lower": None, "upper": None}
    weights = [weight for weight, _ in parts]
    return {key: float(numpy.average([one[key] for _, one in parts], weights=weights)) for key in ("score", "lower", "upper")}


def window(suite, name, at, reports):
    length, step = WINDOWS[name]
    end = datetime.fromtimestamp(at.timestamp() // step * step, timezone.utc)
    inside = [r for r in reports if end - timedelta(seconds=length) <= r["instant"] < end]
    metrics, behind, parts, missing, lacking = {}, {}, [], [], False
    for key in sorted(suite["metrics"]):
        rule = suite["metrics"][key]
        pairs = [(r["sampleSize"], r["metrics"][key]) for r in inside if key in r["metrics"]]
        metrics[key], behind[key] = metric(suite, key, pairs)
        if metrics[key]["score"] is not None:
            parts.append((rule["weight"], metrics[key]))
        elif rule["required"]:
            lacking = True
        else:
            missing.append(key)
    out = combine([] if lacking else parts)
    out.update(n=len(inside), weight=sum(r["sampleSize"] for r in inside), missing=missing, metrics=metrics)
    return out, behind


def expect(folder, at):
    reports, suite = load(folder), load_suite(folder)
    own = {}
    for report in reports:
        report["instant"] = instant(report["observedAt"])
        own.setdefault(report["model"], []).append(report)
    models, behind = [], {}
    for name in sorted(own):
        both = {key: window(suite, key, instant(at), own[name]) for key in WINDOWS if key in suite["windows"]}
        windows = {key: one for key, (one, _) in both.items()}
        behind[name] = {key: one for key, (_, one) in both.items()}
        parts = [(suite["windows"][key], one) for key, one in windows.items() if one["score"] is not None]
        total = combine(parts)
        models.append({"model": name, "composite": total["score"], "lower": total["lower"], "upper": total["upper"], "windows": windows})
    for one in models:
        one["rank"] = None if one["upper"] is None else 1 + sum(1 for other in models if other["lower"] is not None and other["lower"] > one["upper"])
    models.sort(key=lambda one: (one["composite"] is None, -(one["composite"] or 0), one["model"]))
    print(json.dumps({"models": models, "behind": behind}))


def number(x):
    """A double as ECMAScript writes it."""
    if isinstance(x, int) or x == int(x) and abs(x) < 1e21:
        return str(int(x))
    text = repr(abs(x))
    mantissa, _, tail = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(tail or 0) + len(whole.lstrip("0") or "") - (0 if whole.strip("0") else len(fraction) - len(fraction.lstrip("0")))
    digits = (whole + fraction).strip("0")
    sign = "-" if x < 0 else ""
    if -6 < exponent <= 0:
        return sign + "0." + "0" * -exponent + digits
    if 0 < exponent <= 21:
        return sign + (digits[:exponent] + "." + digits[exponent:] if len(digits) > exponent else digits + "0" * (exponent - len(digits)))
    rest = "." + digits[1:] if len(digits) > 1 else ""
    return sign + digits[0] + rest + "e" + ("-" if exponent <= 0 else "+") + str(abs(exponent - 1))


def canonical(value):
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(json.dumps(key, ensure_ascii=False) + ":" + canonical(value[key]) for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    return number(value)


def proof(folder, at):
    published = json.load(sys.stdin)
    digests = sorted(hashlib.sha256(canonical(report).encode()).digest() for report in load(folder))
    rows = set()
    for model in published["models"]:
        head = [published["suite"], published["suiteHash"], model["model"]]
        tail = lambda one: [one["score"], one["lower"], one["upper"]]
        rows.add(canonical(head + [None, instant(at).strftime("%Y-%m-%dT%H:%M:%S.000Z"), None, None, None, model["composite"], model["lower"], model["upper"]]))
        for name, one in model["windows"].items():
            rows.add(canonical(head + [name, one["end"], None, one["n"], one["weight"]] + tail(one)))
            for key, value in one["metrics"].items():
                rows.add(canonical(head + [name, one["end"], key, value["n"], value["weight"]] + tail(value)))
    print(json.dumps({
        "suiteHash": hashlib.sha256(canonical(load_suite(folder)).encode()).hexdigest(),
        "inputDigest": hashlib.sha256(b"".join(digests)).hexdigest(),
        "checksum": hashlib.sha256(b"\n".join(sorted(row.encode() for row in rows))).hexdigest(),
    }))


{"generate": generate, "expect": expect, "proof": proof}[sys.argv[1]](*sys.argv[2:])
