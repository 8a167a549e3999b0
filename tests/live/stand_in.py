"""A process that does as its first line of standard input says: for tests of those who keep processes.

The line is {"file", "do"}: what it is told is appended to the file with its process id; then it `serve`s until its
input closes or SIGTERM, is `stubborn` about SIGTERM, or ends with the status `do`.
"""

from __future__ import annotations

import json
import os
import signal
import sys


def main() -> None:
    """Obey."""
    told = json.loads(sys.stdin.readline())
    if told["do"] == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif told["do"] == "serve":
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with open(told["file"], "a", encoding="utf-8") as file:
        file.write(json.dumps({**told, "pid": os.getpid()}) + "\n")
    if isinstance(told["do"], int):
        sys.exit(told["do"])
    sys.stdin.read()


if __name__ == "__main__":
    main()
