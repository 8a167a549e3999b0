"""Numbers on the command line: read, held within their bounds, and refused in words that say which."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Final

from lab.limits import REPLICATIONS_MAX

PORT_MAX: Final = 65_535


def whole(least: int, most: int, form: str = ",") -> Callable[[str], int]:
    """What reads a whole number from `least` to `most`; `form` is how an error writes the bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, found {text!r}") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must be {least:{form}} to {most:{form}}, found {number:{form}}")
        return number

    return read


def replications(least: int = 1) -> Callable[[str], int]:
    """What reads a number of replications."""
    return whole(least, REPLICATIONS_MAX)


def seconds(least: float, most: float) -> Callable[[str], float]:
    """What reads a length of time in seconds, from `least` to `most`."""

    def read(text: str) -> float:
        number = real(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must be {least:g} to {most:g} seconds, found {text!r}")
        return number

    return read


def real(text: str) -> float:
    """Any number; NaN for what is none, which is within no bounds."""
    try:
        return float(text)
    except ValueError:
        return math.nan
