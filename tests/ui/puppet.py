"""A side of a session that does as it is told and no more: for tests of the hub. `puppet.py model|live HABIT`.

Standard library only, so that it starts at once. Its note tells what it has heard; its habits are the ways in which a
side can go wrong.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

SIDE, HABIT = sys.argv[1], sys.argv[2]
heard: list[dict[str, Any]] = []


buffer = b""


def hear(wait_s: float) -> bool:
    """Take in what has been said meanwhile; False at the end of the input."""
    global buffer
    if select.select([0], [], [], wait_s)[0]:
        part = os.read(0, 1 << 16)
        if not part:
            return False
        *lines, buffer = (buffer + part).split(b"\n")
        heard.extend(json.loads(line) for line in lines)
    return True


def what(name: str) -> list[dict[str, Any]]:
    return [line for line in heard if line["do"] == name]


def say(phase: str, number: int, t_s: float = 0.0, record: str = "", note: str = "") -> None:
    counts = dict.fromkeys(("arrived", "pending", "held", "retry_wait", "running", "completed"), 0)
    counts |= {"arrived": number, "pending": 5 if HABIT == "busy" else 0}
    first = max(0, number - 1)
    bins = {"width_s": 0.5, "first": first}
    curves = dict.fromkeys(("throughput", "p50", "p95", "depth", "rss", "retries"), [number - 1, number][: number + 1])
    grown = what("grow")
    words = {
        "heard": [line["do"] for line in heard],
        "entries": len(grown[-1]["scenario"]["workload"]["arrivals"]["entries"]) if grown else 0,
        "speeds": [line["speed"] for line in what("pace")],
    }
    frame = {"side": SIDE, "t": t_s, "phase": phase, "note": note or json.dumps(words), "counts": counts}
    frame |= {"bins": {**bins, **curves}, "record": record, "strikes": [], "workers": [], "roles": []}
    frame["events"] = [{"n": number + 1, "t": t_s, "kind": "note", "text": f"event {number + 1}", "level": "info"}]
    if SIDE == "live":
        frame["place"] = {"dsn": "postgresql://somebody:a-secret@localhost/x", "redis_url": "redis://localhost"}
    print(json.dumps(frame), flush=True)


def main() -> None:
    if HABIT == "deaf":
        time.sleep(60)
    while not what("start"):
        if not hear(30):
            return
    if HABIT == "unable":
        say("failed", 0, note="there is no PostgreSQL on this machine")
        return
    if HABIT == "garbage":
        print("this is no frame", flush=True)
    while not what("go"):
        say("starting" if HABIT == "slow" else "ready", 0)
        if not hear(0.05):
            return
    for number in range(100_000):
        say("running", number, max(0.0, time.time() - what("go")[0]["epoch_s"]))
        if HABIT == "dies" and number == 5:
            print("Traceback (most recent call last):\n  File x\nUnavailable: the disk is full", file=sys.stderr)
            sys.exit(1)
        if not hear(0.05):
            return
        if what("stop") and HABIT != "stubborn":
            folder = Path(what("start")[0]["runs"]) / f"record-of-{SIDE}"
            say("ended", number + 1, record=str(folder))
            return


main()
