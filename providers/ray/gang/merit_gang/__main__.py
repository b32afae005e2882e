"""
`python -m merit_gang`: the entrypoint of every gang. What to run comes in MERIT_GANG (base64 of JSON, since Ray expands `$NAME` in the
values of its environment): nodes, command, env, resources of one node, labels, strategy, startSeconds, graceSeconds.

Reserves all nodes at once (a placement group), starts the command on each once every one of them is there, prints their output with a
rank before each line, and ends all of them when one fails. The last line, `[merit] …`, says what became of it: ranks cannot forge it,
since all that they print has their rank before it.
"""

import base64
import json
import os
import signal
import sys
import time

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from merit_gang.rank import Rank

READ_S = 0.5
# After their grace, what is left is killed; a rank that is not heard of by then is given up with its worker.
GIVE_UP_S = 15
# A line without an end is cut here.
LINE_BYTES = 65536
NO_ROOM = 75
LOST = 70
# Between a worker's death and Ray's verdict on its node (14 s measured).
VERDICT_S = 30


class Stopped(Exception):
    """SIGTERM: Merit or Ray wants it to end."""


class Gang:
    def __init__(self, order):
        self.order = order
        self.count = order["nodes"]
        self.stopped = False
        self.group = None
        self.ranks = []
        self.places = []
        self.rests = [b""] * self.count
        self.codes = {}
        self.failure = None

    def say(self, text):
        sys.stdout.buffer.write(f"[merit] {text}\n".encode())
        sys.stdout.buffer.flush()

    def print_output(self, rank, output, is_last):
        data = self.rests[rank] + output
        *lines, rest = data.split(b"\n")
        if rest and (is_last or len(rest) > LINE_BYTES):
            lines.append(rest)
            rest = b""
        self.rests[rank] = rest
        for line in lines:
            # Ray answers 500 for a log that is not UTF-8.
            text = line.decode("utf-8", "replace").rstrip("\r")
            sys.stdout.buffer.write(f"(rank {rank}) {text}\n".encode())
        sys.stdout.buffer.flush()

    def wait(self, references, until, what):
        """The values of all references, unless it is stopped meanwhile."""
        left = list(references)
        while left:
            if self.stopped:
                raise Stopped
            if time.monotonic() > until:
                raise TimeoutError(what)
            _, left = ray.wait(left, num_returns=len(left), timeout=READ_S)
        return ray.get(list(references))

    def reserve(self):
        """All nodes or none: resolves with every rank's actor alive in its bundle."""
        order = self.order
        until = time.monotonic() + order["startSeconds"]
        labels = order.get("labels")
        self.group = placement_group(
            [dict(order["resources"]) for _ in range(self.count)],
            strategy=order["strategy"],
            bundle_label_selector=[labels] * self.count if labels else None,
        )
        # Not `ready()`, which is a task and waits for a worker of its own.
        while not self.group.wait(READ_S):
            if self.stopped:
                raise Stopped
            if time.monotonic() > until:
                raise TimeoutError("no room for all its nodes at once")
        custom = {name: amount for name, amount in order["resources"].items() if name not in ("CPU", "GPU", "memory")}
        actor = ray.remote(Rank)
        self.ranks = [
            actor.options(
                max_restarts=0,
                max_concurrency=3,
                num_cpus=order["resources"].get("CPU", 0),
                num_gpus=order["resources"].get("GPU", 0),
                memory=order["resources"].get("memory"),
                resources=custom or None,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=index),
            ).remote()
            for index in range(self.count)
        ]
        self.places = self.wait([rank.ready.remote() for rank in self.ranks], until, "a node did not begin")

    def environment(self, rank):
        ips = [place["ip"] for place in self.places]
        count = str(self.count)
        # As the entrypoint of a job on one node has it.
        address = {name: os.environ[name] for name in ("RAY_ADDRESS",) if name in os.environ}
        return {
            **address,
            **self.order["env"],
            "MERIT_NODE_RANK": str(rank),
            "MERIT_NUM_NODES": count,
            "MERIT_NODE_IPS": "\n".join(ips),
            "MERIT_HEAD_IP": ips[0],
            "MERIT_HEAD_PORT": str(self.places[0]["port"]),
            "SKYPILOT_NODE_RANK": str(rank),
            "SKYPILOT_NUM_NODES": count,
            "SKYPILOT_NODE_IPS": "\n".join(ips),
            "SKYPILOT_NUM_GPUS_PER_NODE": str(int(self.order["resources"].get("GPU", 0))),
        }

    def run(self):
        """The exit code: 0 once every rank ended with 0, else that of the first that failed."""
        self.reserve()
        for rank, place in enumerate(self.places):
            self.say(f"rank {rank} of {self.count} is on {place['ip']}")
        command = self.order["command"]
        starts = [actor.start.remote(command, self.environment(rank)) for rank, actor in enumerate(self.ranks)]
        try:
            self.wait(starts, time.monotonic() + self.order["startSeconds"], "a node did not start the command")
        except (ray.exceptions.RayError, TimeoutError, Stopped):
            self.stop_others()
            raise
        self.follow()
        if self.failure is None:
            self.say(f"all {self.count} ranks ended well")
            return 0
        text, code = self.failure
        self.say(text)
        return code

    def follow(self):
        """Prints what they print until all have ended. One that fails, or a stop, ends the others."""
        reads = {actor.read.remote(READ_S): rank for rank, actor in enumerate(self.ranks)}
        give_up = None
        while reads:
            if self.stopped and give_up is None:
                give_up = self.stop_others()
            if give_up is not None and time.monotonic() > give_up:
                self.give_up(reads.values())
                break
            done, _ = ray.wait(list(reads), num_returns=1, timeout=READ_S)
            for reference in done:
                rank = reads.pop(reference)
                code = self.take(rank, reference)
                if code is None:
                    reads[self.ranks[rank].read.remote(READ_S)] = rank
                elif code != 0 and give_up is None:
                    give_up = self.stop_others()
        if self.stopped:
            raise Stopped

    def take(self, rank, reference):
        """One read's outcome: None while the rank runs, else its exit code."""
        try:
            output, code = ray.get(reference)
        except ray.exceptions.RayError as error:
            self.codes[rank] = LOST
            self.stop_others()
            self.print_output(rank, b"", True)
            self.fail(rank, f"was lost: {self.why_lost(rank, error)}", LOST)
            return LOST
        self.print_output(rank, output, code is not None)
        if code is not None:
            # A signal's number is negative in Python; a shell adds it to 128.
            code = code if code >= 0 else 128 - code
            self.codes[rank] = code
            if code != 0:
                self.fail(rank, f"failed with exit code {code}", code)
        return code

    def fail(self, rank, how, code):
        """The first failure counts: the others end because of it."""
        if self.failure is None and not self.stopped:
            self.failure = (f"rank {rank} of {self.count} on {self.places[rank]['ip']} {how}", code)

    def why_lost(self, rank, error):
        node = self.places[rank]["node"]
        until = time.monotonic() + VERDICT_S
        while time.monotonic() < until and not self.stopped:
            if "node died" in str(error) or "node has died" in str(error):
                return "its node has died"
            if any(one["NodeID"] == node and not one["Alive"] for one in ray.nodes()):
                return "its node has died"
            if "OOM" in str(error) or "memory" in str(error):
                return "its worker was killed for memory"
            time.sleep(1)
        return "its worker died"

    def stop_others(self):
        grace = self.order["graceSeconds"]
        for rank, actor in enumerate(self.ranks):
            if rank not in self.codes:
                actor.stop.remote(grace)
        return time.monotonic() + grace + GIVE_UP_S

    def give_up(self, ranks):
        """Killing a rank's worker closes its keeper's stdin, which ends the command."""
        for rank in ranks:
            self.say(f"rank {rank} does not answer; its worker is killed")
            ray.kill(self.ranks[rank])


def last_line(error):
    return str(error).strip().splitlines()[-1]


def main():
    order = json.loads(base64.b64decode(os.environ["MERIT_GANG"]))
    ray.init(log_to_driver=False, logging_level="warning")
    gang = Gang(order)

    def on_stop(_signum, _frame):
        gang.stopped = True

    # Ray has set its own; ours lets the ranks end by themselves first.
    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    code = 128 + signal.SIGTERM
    try:
        code = gang.run()
    except Stopped:
        gang.say("it was stopped")
    except TimeoutError as problem:
        gang.say(f"{problem} within {order['startSeconds']} s")
        code = NO_ROOM
    except (ray.exceptions.RuntimeEnvSetupError, ray.exceptions.RayTaskError) as error:
        gang.say(f"it could not begin: {last_line(error)}")
        code = LOST
    except ray.exceptions.RayError as error:
        # Whatever it was, it was not the command.
        gang.say(f"a node was lost before all had begun: {last_line(error)}")
        code = LOST
    finally:
        if gang.group is not None:
            for actor in gang.ranks:
                ray.kill(actor)
            remove_placement_group(gang.group)
        ray.shutdown()
    sys.exit(code)


if __name__ == "__main__":
    main()
