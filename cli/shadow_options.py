"""What `meshlab shadow` takes."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    commands.add_parser("shadow", help="watch a standing mesh beside its model: predicted against seen")
