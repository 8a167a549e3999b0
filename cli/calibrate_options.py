"""What `meshlab calibrate` takes."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    calibrate = commands.add_parser(
        "calibrate",
        help="measure this machine and these servers, so that the model predicts them",
        description="In less than two minutes: what each step of the machinery costs here, alone and in batches, and "
        "what it waits for. The result is the profile `default` of this machine. Let nothing else run meanwhile.",
    )
    calibrate.add_argument("--name", default="default", metavar="NAME", help="keep it under another name than default")
    calibrate.add_argument("--out", metavar="FILE", help="write the profile into this file (YAML) instead")
    calibrate.add_argument("--show", action="store_true", help="measure nothing: show the profile that is in use")
    calibrate.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    calibrate.add_argument("--quiet", action="store_true", help="show no progress")
    calibrate.add_argument("--status", help=argparse.SUPPRESS)
