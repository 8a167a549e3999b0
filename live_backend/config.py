"""What a worker process is told when it starts: over its standard input, never on its command line, where others could
read it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.scenario import Scenario


@dataclass(frozen=True)
class WorkerConfig:
    """One worker's place in one run."""

    worker: str
    place: int
    dsn: str
    redis_url: str
    schema: str
    prefix: str
    scenario: dict[str, Any]
    base: str

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> WorkerConfig:
        """What `to_line` wrote."""
        return cls(**json.loads(line))

    def load_scenario(self) -> Scenario:
        """The scenario of the run."""
        return Scenario.from_data(self.scenario, base=Path(self.base))
