"""Runs a command in a session of its own, and kills that session when whoever asked for it is gone.

`python tether.py COMMAND…` prints the command's process id. It ends when the command has ended, or, with a SIGKILL to
the command's whole group, when its own standard input does: a benchmark that is killed leaves nobody behind, not even
frozen workers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Start, tell, wait."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    print(process.pid, flush=True)
    threading.Thread(target=_cut, args=(process.pid,), daemon=True).start()
    status = process.wait()
    _kill(process.pid)  # whoever is left of its group
    sys.exit(max(status, 0))


def _cut(group: int) -> None:
    while os.read(0, 1024):  # not by sys.stdin, whose lock would still be held at our own end
        pass
    _kill(group)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
