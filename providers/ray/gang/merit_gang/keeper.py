"""
Runs one rank's command and leaves nothing of it behind, whatever becomes of the Ray worker that asked for it.

Ray kills a worker's direct children, and what they started lives on. So the keeper forks away from the worker (the worker is not its
parent), takes in whatever the command starts, even what daemonises (child subreaper), and ends all of it when the command ends, when it is
told to stop, or when its stdin closes: that is the worker's death, of any cause.

argv: the file descriptor for reports. stdin: one line of JSON {"command", "env"}, then lines "stop SECONDS". stdout: the command's output.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# Nobody waits for an orphan's farewell: its capacity is already counted as free.
ORPHAN_GRACE_S = 2.0
POLL_S = 0.1


def prctl(option, value):
    try:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
    except (OSError, AttributeError):
        pass  # not Linux: the process group alone is then looked after


def descendants():
    """All processes below this one. Empty where there is no /proc."""
    parents = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(name)] = int(fields[1])
    found = [os.getpid()]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def signal_all(group, signum):
    for send, target in [(os.killpg, group), *((os.kill, pid) for pid in descendants())]:
        try:
            send(target, signum)
        except (ProcessLookupError, PermissionError):
            pass


def end_all(group):
    """SIGKILL until nothing is left below this process."""
    while True:
        signal_all(group, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def reap(child):
    """Reaps whatever ended; the command's exit code once it has."""
    code = None
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return code
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return code


def keep(report, order):
    command = subprocess.Popen(
        order["command"],
        shell=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=order["env"],
        start_new_session=True,
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    os.close(1)  # the reader's end of file comes with the command's last process, not with ours
    report({"started": command.pid})
    kill_at = None
    orders = b""
    listening = True
    while True:
        code = reap(command.pid)
        if code is not None:
            end_all(command.pid)
            return code
        if kill_at is not None and time.monotonic() >= kill_at:
            signal_all(command.pid, signal.SIGKILL)
        ready = select.select([0] if listening else [], [], [], POLL_S)[0]
        if not ready:
            continue
        got = os.read(0, 4096)
        orders += got
        *lines, orders = orders.split(b"\n")
        graces = [float(line.split()[1]) for line in lines]
        if got == b"":
            listening = False
            graces.append(ORPHAN_GRACE_S)
        for grace in graces:
            if kill_at is None:
                signal_all(command.pid, signal.SIGTERM)
            at = time.monotonic() + grace
            kill_at = at if kill_at is None else min(kill_at, at)


def main():
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    out = os.fdopen(int(sys.argv[1]), "w", buffering=1)

    def report(value):
        try:
            out.write(json.dumps(value) + "\n")
        except OSError:
            pass  # the worker is gone

    first = b""
    while not first.endswith(b"\n"):
        got = os.read(0, 1)
        if got == b"":
            return  # the worker died before it said what to run
        first += got
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)  # not handed down to the command as ignored
    try:
        report({"code": keep(report, json.loads(first))})
    except OSError as error:
        report({"failed": str(error)})


if __name__ == "__main__":
    main()
