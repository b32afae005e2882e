"""One node of a gang: an actor in a bundle of the gang's placement group."""

import json
import os
import select
import socket
import subprocess
import sys
import time

import ray

CHUNK_BYTES = 256 * 1024
# Of the Ray worker itself; what the command inherits must not look like one.
WORKERS_OWN = ("RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING", "MERIT_GANG")


class Rank:
    """Runs in threads: `read` blocks while `stop` comes in."""

    def __init__(self):
        self._orders = None
        self._output = None
        self._reports = None
        self._ended = None

    def ready(self):
        """Where it is, with a port that is free there now."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        return {"ip": ray.util.get_node_ip_address(), "node": ray.get_runtime_context().get_node_id(), "port": port}

    def start(self, command, env):
        """Starts the command; returns once it runs. Raises where it cannot be started."""
        own = {name: value for name, value in os.environ.items() if name not in WORKERS_OWN}
        orders_out, self._orders = os.pipe()
        self._output, output_in = os.pipe()
        reports_out, reports_in = os.pipe()
        keeper = subprocess.Popen(
            [sys.executable, "-S", "-E", os.path.join(os.path.dirname(__file__), "keeper.py"), str(reports_in)],
            stdin=orders_out,
            stdout=output_in,
            pass_fds=[reports_in],
        )
        for descriptor in (orders_out, output_in, reports_in):
            os.close(descriptor)
        self._reports = os.fdopen(reports_out)
        keeper.wait()
        os.write(self._orders, (json.dumps({"command": command, "env": {**own, **env}}) + "\n").encode())
        report = json.loads(self._reports.readline() or '{"failed": "its keeper died"}')
        if "started" not in report:
            raise RuntimeError(report.get("failed", "it did not start"))

    def read(self, seconds):
        """The next output, up to `seconds` late, and the exit code once the command has ended and all was read."""
        parts = []
        size = 0
        until = time.monotonic() + seconds
        while size < CHUNK_BYTES and self._ended is None:
            if not select.select([self._output], [], [], max(0.0, until - time.monotonic()) if not parts else 0.05)[0]:
                break
            got = os.read(self._output, 65536)
            if got == b"":
                report = json.loads(self._reports.readline() or '{"failed": "its keeper died"}')
                self._ended = report.get("code", -9)
                break
            parts.append(got)
            size += len(got)
        return b"".join(parts), self._ended

    def stop(self, grace):
        """SIGTERM to all of it, SIGKILL after `grace` seconds."""
        if self._orders is not None:
            try:
                os.write(self._orders, f"stop {grace}\n".encode())
            except OSError:
                pass  # its keeper has ended with the command
