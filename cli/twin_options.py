"""What `meshlab twin` takes."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    commands.add_parser("twin", help="put the model to the test: the same runs live and in it")
