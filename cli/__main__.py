"""`python -m cli` is `meshlab`."""

from __future__ import annotations

import sys

from cli.main import main

# The guard matters: worker processes that are spawned import this module again.
if __name__ == "__main__":
    sys.exit(main())
