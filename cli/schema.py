"""`meshlab schema`: the JSON Schema of a scenario file, for editors."""

from __future__ import annotations

import argparse

from cli.terminal import say_json
from lab.scenario import json_schema


def command(options: argparse.Namespace) -> int:
    """Print it."""
    say_json(json_schema())
    return 0
