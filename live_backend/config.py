"""What a worker process is told when it starts: over its standard input, never on its command line, where others could
read it. And what an engine and the host of a worker elsewhere tell each other about it, through Redis.

Both sides of that talk state everything they have to say again and again, each in one key that expires. So a word that
is lost, or a Redis that is wiped, costs a beat and nothing else; a side that says nothing any more is gone.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from lab.limits import LINK_AWAY_S_MAX, LINK_MISSING_S_MAX
from lab.scenario import Scenario

INVITATIONS = "agent_invitations"
"""The Redis list in which engines offer the places of their runs. Every worker host waits at its head."""
SIGNALS = ("SIGKILL", "SIGSTOP", "SIGCONT", "SIGTERM")
"""What a host delivers to its child. By name: the numbers differ between systems."""
PLAIN_NAME = re.compile(r"[\w.:-]+", re.ASCII)


@dataclass(frozen=True)
class WorkerConfig:
    """One worker's place in one run, or in the standing mesh."""

    worker: str
    place: int
    dsn: str
    redis_url: str
    schema: str
    prefix: str
    scenario: dict[str, Any]
    base: str
    standing: bool = False
    """A worker of the standing mesh: it does the work that clients submit, by the handlers of their roles."""

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> WorkerConfig:
        """What `to_line` wrote."""
        return cls(**json.loads(line))

    def to_invitation(self) -> str:
        """The same without the servers' addresses: they hold passwords, and a host has addresses of its own."""
        return json.dumps({name: value for name, value in asdict(self).items() if name not in ("dsn", "redis_url")})

    @classmethod
    def from_invitation(cls, text: str, *, dsn: str, redis_url: str) -> WorkerConfig:
        """What `to_invitation` wrote, with the host's own addresses. Raises ValueError if it is anything else."""
        try:
            config = cls(**json.loads(text), dsn=dsn, redis_url=redis_url)
        except TypeError as error:  # no object, or the fields of another version
            raise ValueError(str(error)) from error
        for name in (config.worker, config.schema, config.prefix):
            if not PLAIN_NAME.fullmatch(str(name)):  # they become part of keys and options
                raise ValueError(f"{name!r} is not a plain name")
        return config

    def load_scenario(self) -> Scenario:
        """The scenario of the run."""
        return Scenario.from_data(self.scenario, base=Path(self.base))

    @property
    def orders_key(self) -> str:
        """Where the engine says what it wants of this worker."""
        return f"{self.prefix}orders:{self.worker}"

    @property
    def report_key(self) -> str:
        """Where the host says how this worker is."""
        return f"{self.prefix}report:{self.worker}"


@dataclass(frozen=True)
class _Statement:
    def to_text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Orders(_Statement):
    """All that the engine has to say to the host of a worker."""

    grace_s: float
    """How long the worker may take to leave when it is asked to."""
    start_epoch_s: float | None = None
    """When the run started."""
    signals: list[str] = field(default_factory=list)
    """Every signal so far, oldest first; the host knows how many of them it has delivered."""


@dataclass(frozen=True)
class Report(_Statement):
    """All that the host of a worker has to say to the engine."""

    host: str
    pid: int = 0
    """0: not started yet."""
    status: int | None = None
    """How the process ended: an exit status, or minus a signal's number. None: it lives."""
    said: str = ""
    """The last lines that a process wrote before it ended badly."""


class Silence:
    """How long the other side has not been heard. It is gone when its key has been missing for `LINK_MISSING_S_MAX`
    while Redis answered, or when Redis itself has been away for `LINK_AWAY_S_MAX`.
    """

    def __init__(self) -> None:
        self._missing_since: float | None = None
        self._away_since: float | None = None

    def heard(self) -> None:
        """The other side's key is there."""
        self._missing_since = self._away_since = None

    def missing(self) -> None:
        """Redis answered, and the key is not there."""
        self._away_since = None
        self._missing_since = self._missing_since or time.monotonic()

    def away(self) -> None:
        """Redis did not answer, so nothing is known."""
        self._missing_since = None
        self._away_since = self._away_since or time.monotonic()

    @property
    def too_long(self) -> bool:
        """Whether the other side counts as gone."""
        now = time.monotonic()
        missing_s = now - self._missing_since if self._missing_since is not None else 0.0
        away_s = now - self._away_since if self._away_since is not None else 0.0
        return missing_s > LINK_MISSING_S_MAX or away_s > LINK_AWAY_S_MAX
