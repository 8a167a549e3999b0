"""What `meshlab whatif` takes."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    commands.add_parser("whatif", help="what would happen if …: before and after, on the same tasks")
