"""Giving memory back to the system that a large run no longer needs."""

from __future__ import annotations

import ctypes
import gc
import sys


def release() -> None:
    """Collect garbage, then ask the C library to return free heap to the system (it need not, and only glibc is asked).

    It takes some hundredths of a second, so it is for moments at which much has just become free.
    """
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return  # another C library (musl): there is no such call, and nothing else to ask
