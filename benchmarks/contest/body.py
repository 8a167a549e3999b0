"""The body of every task of every contestant: one appended record of 16 bytes, who and when. Standard library only.

A file opened with O_APPEND takes records from many processes without a lock, and its length says how many there are.
"""

from __future__ import annotations

import os
import struct
import time

MARKS = "CONTEST_MARKS"
"""The environment variable with the path of the file."""
SLEEP_S = 0.01
"""What a `sleep` task waits: an agent's call, shortened."""
RECORD = struct.Struct("<qq")
_file = -1


def mark(number: int) -> None:
    """Append task `number` and the present moment (ns since 1970)."""
    global _file
    if _file < 0:
        _file = os.open(os.environ[MARKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_file, RECORD.pack(number, time.time_ns()))
