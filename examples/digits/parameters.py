"""The parameters of train.py: one JSON object, checked whole before anything is trained.

`read_parameters` returns a plain dict with every default filled in, or raises `BadParameters`, which lists every problem at
once as `field: problem (mend)`. node/parameters.mjs is the same contract for train.mjs.
"""

import json
import re
from datetime import datetime, timedelta, timezone
from urllib.parse import unquote, urlsplit

TRAIN_POOL = 1200
MAX_JSON_CHARACTERS = 65_536
MAX_SLICES = 10_000
MAX_SLICE_INDEX = 1_000_000
MAX_ROTATIONS = 16
MAX_TICK_SECONDS = 86_400
MAX_SEED = 2**32 - 1
MAX_SHOWN = 64

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)

DEFAULTS = {"suite": "digits", "producer": "by-hand", "seed": 1, "epoch": "2026-01-05T09:00:00Z", "tickSeconds": 60}


class BadParameters(Exception):
    """Every problem found, one line each."""

    def __init__(self, problems):
        super().__init__("\n".join(problems))
        self.problems = problems


def read_parameters(text):
    """Parses and checks `text`; adds `evaluate.fromSlice` as it follows from `demotedAtTick`, and `destination`."""
    given = parse_object(text)
    problems = []

    def bad(field, problem, mend):
        problems.append(f"{field}: {problem} ({mend})")

    members(given, "", {"model", "train", "evaluate", "outputs"}, {*DEFAULTS, "demotedAtTick"}, bad)
    found = {**DEFAULTS, **given}
    for field in ("model", "suite", "producer"):
        if field in found:
            name(found[field], field, bad)
    integer(found["seed"], "seed", 0, MAX_SEED, bad)
    integer(found["tickSeconds"], "tickSeconds", 1, MAX_TICK_SECONDS, bad)
    epoch = instant(found["epoch"], "epoch", bad)
    demoted = instant(found["demotedAtTick"], "demotedAtTick", bad) if "demotedAtTick" in found else None
    if "train" in found:
        found["train"] = check_train(found["train"], bad)
    if "evaluate" in found:
        found["evaluate"] = check_evaluate(found["evaluate"], bad)
    destination = check_outputs(found["outputs"], bad) if "outputs" in found else None
    if not problems:
        place_slices(found, epoch, demoted, bad)
    if problems:
        raise BadParameters(problems)
    return {**found, "epoch": epoch, "destination": destination}


def parse_object(text):
    if len(text) > MAX_JSON_CHARACTERS:
        raise BadParameters([f"parameters: longer than {MAX_JSON_CHARACTERS} characters (shorten them)"])

    def no_constant(word):
        raise ValueError(f"{word} is not a JSON number")

    def no_duplicates(pairs):
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"the member {json.dumps(key)} stands twice")
        return dict(pairs)

    try:
        value = json.loads(text, parse_constant=no_constant, object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadParameters([f"parameters: not valid JSON: {error} (write one JSON object)"]) from None
    if not isinstance(value, dict):
        raise BadParameters(["parameters: not a JSON object (write one JSON object)"])
    return value


def members(value, prefix, required, optional, bad):
    for key in sorted(required - value.keys()):
        bad(prefix + key, "missing", "add it; --help lists every parameter")
    for key in sorted(value.keys() - required - optional):
        bad(prefix + shown(key), "unknown parameter", "remove it; --help lists every parameter")


def shown(key):
    """A key on one line, whatever is in it."""
    return json.dumps(key)[1:-1][:MAX_SHOWN]


def name(value, field, bad):
    if not (isinstance(value, str) and NAME.fullmatch(value)):
        bad(field, "must be 1 to 64 characters of A-Z a-z 0-9 . _ -", "rename it")


def integer(value, field, least, most, bad):
    if type(value) is not int or not least <= value <= most:
        bad(field, f"must be an integer from {least} to {most}", "write such a number, without quotes or a point")
        return False
    return True


def degrees(value, field, bad):
    if type(value) not in (int, float) or not -180 <= value <= 180:
        bad(field, "must be a number of degrees from -180 to 180", "write such a number, without quotes")


def instant(value, field, bad):
    """RFC 3339 with a zone, in UTC, digits after the millisecond cut off."""
    match = RFC3339.fullmatch(value) if isinstance(value, str) else None
    mend = "write it as 2026-01-05T09:00:00Z"
    if match is None:
        bad(field, "must be an RFC 3339 time with a zone", mend)
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    milliseconds = int((match[7] or "").ljust(3, "0")[:3])
    offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    try:
        if int(match[9] or 0) > 23 or int(match[10] or 0) > 59:
            raise ValueError("no such zone")
        local = datetime(year, month, day, hour, minute, second, milliseconds * 1000, tzinfo=timezone.utc)
        return local - offset
    except (ValueError, OverflowError):
        bad(field, "is not a time of the calendar", mend)
        return None


def check_train(value, bad):
    if not isinstance(value, dict):
        bad("train", "must be an object", 'write {"images": 1200, "rotations": [0]}')
        return value
    members(value, "train.", {"images"}, {"rotations"}, bad)
    found = {"rotations": [0], **value}
    if "images" in found:
        integer(found["images"], "train.images", 10, TRAIN_POOL, bad)
    rotations = found["rotations"]
    if not isinstance(rotations, list) or not 1 <= len(rotations) <= MAX_ROTATIONS:
        bad("train.rotations", f"must be a list of 1 to {MAX_ROTATIONS} angles", "write [0] for upright images only")
        return found
    for index, angle in enumerate(rotations):
        degrees(angle, f"train.rotations[{index}]", bad)
        if angle in rotations[:index]:
            bad(f"train.rotations[{index}]", "stands twice", "name each angle once")
    return found


def check_evaluate(value, bad):
    if not isinstance(value, dict):
        bad("evaluate", "must be an object", 'write {"slices": 40}')
        return value
    members(value, "evaluate.", {"slices"}, {"fromSlice", "drift"}, bad)
    found = {"fromSlice": 0, **value}
    if "slices" in found:
        integer(found["slices"], "evaluate.slices", 1, MAX_SLICES, bad)
    integer(found["fromSlice"], "evaluate.fromSlice", 0, MAX_SLICE_INDEX, bad)
    if "drift" not in found:
        return found
    drift = found["drift"]
    if not isinstance(drift, dict):
        bad("evaluate.drift", "must be an object", 'write {"fromSlice": 45, "degrees": 40}, or leave it out')
        return found
    members(drift, "evaluate.drift.", {"fromSlice", "degrees"}, set(), bad)
    if "fromSlice" in drift:
        integer(drift["fromSlice"], "evaluate.drift.fromSlice", 0, MAX_SLICE_INDEX, bad)
    if "degrees" in drift:
        degrees(drift["degrees"], "evaluate.drift.degrees", bad)
    return found


def check_outputs(value, bad):
    """('file', absolute folder) or ('s3', bucket, prefix)."""
    mend = "write file:///absolute/folder or s3://bucket/prefix"
    try:
        url = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        url = None
    if url is None or url.scheme not in ("file", "s3") or "?" in value or "#" in value:
        bad("outputs", "must be a file: or s3: address", mend)
        return None
    path = unquote(url.path)
    if ".." in path.split("/") or any(ord(character) < 32 for character in path):
        bad("outputs", "must have no .. step and no control character", mend)
        return None
    if url.scheme == "s3":
        if not BUCKET.fullmatch(url.netloc):
            bad("outputs", "must name a bucket of 3 to 63 characters of a-z 0-9 . -", mend)
            return None
        return ("s3", url.netloc, path.strip("/"))
    if url.netloc not in ("", "localhost") or not path.startswith("/") or path.strip("/") == "":
        bad("outputs", "must name an absolute folder of this machine", mend)
        return None
    return ("file", path)


def place_slices(found, epoch, demoted, bad):
    """The first slice is never before `demotedAtTick`: evidence for a new challenge starts after the demotion."""
    tick = timedelta(seconds=found["tickSeconds"])
    evaluate = found["evaluate"]
    if demoted is not None:
        after = -((epoch - demoted) // tick)
        evaluate["fromSlice"] = max(evaluate["fromSlice"], after)
        if evaluate["fromSlice"] > MAX_SLICE_INDEX:
            bad("demotedAtTick", f"is more than {MAX_SLICE_INDEX} slices after epoch", "give the epoch of the live traffic")
            return
    last = evaluate["fromSlice"] + evaluate["slices"] - 1
    try:
        epoch + last * tick
    except OverflowError:
        bad("epoch", "puts the last slice after the year 9999", "take an earlier epoch")
    if len(f"{found['model']}-s{last}") > 64:
        bad("model", f"leaves no room for -s{last} in a report id of 64 characters", "shorten it")
