"""What `meshlab report` takes."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    commands.add_parser("report", help="write runs as one self-contained HTML file")
