"""Runs in the peers' environment: `submit.py APP prepare`, or `submit.py APP KIND FIRST COUNT`.

Prints the seconds that the submission took, without the start of Python and the loading of the peer.
"""

import importlib
import sys
import time


def main() -> None:
    """Prepare, or submit and print."""
    app = importlib.import_module(sys.argv[1])
    if sys.argv[2] == "prepare":
        app.prepare()
        return
    kind, first, count = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    numbers = list(range(first, first + count))
    started = time.perf_counter()
    app.enqueue(kind, numbers)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
