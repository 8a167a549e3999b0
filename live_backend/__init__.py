"""The live engine: a scenario on a real Redis and PostgreSQL with real worker processes. `run_live(scenario)` returns
its record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from live_backend.engine import run_live

__all__ = ["run_live"]


def __getattr__(name: str) -> Any:
    """Load the engine only when asked: a worker process imports this package and needs a tenth of it."""
    if name == "run_live":
        from live_backend.engine import run_live

        return run_live
    raise AttributeError(name)
