"""What the machinery itself costs in the model: a measured profile, or nothing at all (`ideal`)."""

from __future__ import annotations

import os
import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import Field, ValidationError

from lab import yaml_source
from lab.errors import Unavailable, UsageError
from lab.limits import COST_S_MAX, MIB, SCENARIO_BYTES_MAX
from lab.rules.base import Rules

FOLDER = Path(__file__).with_name("profiles")
DEFAULT, SHIPPED = "default", "shipped"
BUILT_IN = (DEFAULT, *sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""`default` is this machine's, where `meshlab calibrate` has measured it, else `shipped`."""

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
ELSEWHERE: Final = "name another folder in $MESHLAB_PROFILES, or a file with --out"

Seconds = Annotated[float, Field(ge=0, le=COST_S_MAX)]
Late = Annotated[list[Seconds], Field(max_length=1_001)]
"""How late something is: quantiles from the least to the most, evenly spaced in probability."""
Share = Annotated[float, Field(ge=0, le=1)]


class Cost(Rules):
    """What one operation costs, in seconds: a fixed part for each batch, and a part for each task in it.

    The parts are spent one after the other: on the event loop of the process that does it, in the database, and waiting
    for what occupies nobody (the network, a timer, the disk's commit).
    """

    loop_s: Seconds = Field(0.0, description="A batch on the process's event loop.")
    loop_task_s: Seconds = Field(0.0, description="Each task of it on the event loop.")
    database_s: Seconds = Field(0.0, description="A batch in the database.")
    database_task_s: Seconds = Field(0.0, description="Each task of it in the database.")
    wait_s: Seconds = Field(0.0, description="What a batch waits for and nobody is busy with.")
    late_s: Late = Field(
        default_factory=list, description="What it waits beyond that, now more and now less: quantiles."
    )
    woken_late_s: Late = Field(
        default_factory=list, description="The same, of a batch that found nothing under way: somebody had to wake."
    )
    wakes: float = Field(
        0.0, ge=0, le=1_000, description="How often its event loop must get the interpreter back from busy threads."
    )

    @property
    def alone_s(self) -> float:
        """What a batch of one task takes on an idle machine, on average."""
        late_s = sum(sum(one) / len(one) for one in (self.late_s, self.woken_late_s) if one)
        return self.loop_s + self.loop_task_s + self.database_s + self.database_task_s + self.wait_s + late_s


class MemoryCosts(Rules):
    """How the RSS of a worker process behaves around the memory that its tasks hold."""

    base_mib: float = Field(0.0, ge=0, le=65_536, description="An idle worker process that has given back what it can.")
    slack_mib: float = Field(
        0.0,
        ge=0,
        le=65_536,
        description="What an idle process has beyond that, until it is first asked to give back.",
    )
    touch_s_per_mib: float = Field(
        0.0, ge=0, le=1, description="Processor time that a task takes to fill a MiB of its memory, at its start."
    )
    drop_s_per_mib: float = Field(0.0, ge=0, le=1, description="Time of the event loop to give a MiB back, at its end.")
    garbage_share: Share = Field(0.0, description="Share of an ended task's memory that lingers until a collection.")
    garbage_per_task_mib: float = Field(0.0, ge=0, le=1_024, description="Garbage that any task leaves, in MiB.")
    collect_at_mib: float = Field(64.0, ge=0, le=65_536, description="So much garbage sets off a collection.")
    kept_share: Share = Field(0.0, description="Share of collected garbage that stays with the process as free heap.")
    returned_share: Share = Field(1.0, description="Share of the free heap that a release under pressure gives back.")

    @property
    def base_bytes(self) -> int:
        """RSS of an idle worker process in bytes, at the least."""
        return int(self.base_mib * MIB)

    @property
    def slack_bytes(self) -> float:
        """What an idle process has beyond that before its first release, in bytes."""
        return self.slack_mib * MIB

    @property
    def fresh_bytes(self) -> float:
        """RSS of an idle worker process that has not been asked to give anything back, in bytes."""
        return self.base_bytes + self.slack_bytes

    @property
    def garbage_per_task_bytes(self) -> float:
        """Garbage that any task leaves, in bytes."""
        return self.garbage_per_task_mib * MIB

    @property
    def collect_at_bytes(self) -> float:
        """So much garbage sets off a collection, in bytes."""
        return self.collect_at_mib * MIB


class Profile(Rules):
    """Costs of the machinery and sizes of a worker process."""

    measured: str = Field(description="When, where and how these figures were measured.")
    measured_at: datetime | None = Field(None, strict=False, description="When, for what grows old.")
    machine: dict[str, Any] = Field(default_factory=dict, description="Which machine, servers and versions.")
    fit: dict[str, Any] = Field(default_factory=dict, description="How well the model with it matches the probes.")
    cores: int | None = Field(
        None, ge=1, le=4_096, description="Cores that all processes of the mesh and its servers share; none: no limit."
    )
    awake_share: Share = Field(0.0, description="Share of what steps wait that is gone when all cores are at work.")
    aside_share: float = Field(
        0.0, ge=0, le=10, description="What the system works beside each second of the machinery, and nobody waits for."
    )
    switch_s: Seconds = Field(0.0, description="How long a busy thread keeps the interpreter from its process's loop.")
    report_lead_s: Seconds = Field(0.0, description="How long before a run starts its workers report their health.")
    look_s: Seconds = Field(
        0.0, description="How often the producer learns of gates and queues; 0: at every report, and of every claim."
    )
    heartbeat_s: Seconds = Field(0.0, description="Processor time of one health report of one worker.")
    submit: Cost = Field(Cost(), description="Producer: from a task's arrival to its committed PENDING row.")
    push: Cost = Field(Cost(), description="Producer, reaper: from a committed PENDING row to its place in the queue.")
    fetch: Cost = Field(Cost(), description="Worker: from a free slot and a waiting task to the task's id in hand.")
    claim: Cost = Field(Cost(), description="Worker: from the id to the committed claim and the start of the work.")
    settle: Cost = Field(Cost(), description="Worker: from the end of the work to its committed verdict.")
    begin: Cost = Field(Cost(), description="Worker: from the claim's statement to the start of the work.")
    reply: Cost = Field(Cost(), description="Worker: from the verdict's statement to its slots being free for more.")
    timer_late_s: Late = Field(
        default_factory=list,
        description="How much later than planned a worker notices the end of some work: quantiles.",
    )
    timer_tick_s: Seconds = Field(0.0, description="Resolution of the timers of a worker's event loop.")
    due: Cost = Field(Cost(), description="Reaper: from the moment a retry is due to its place in the queue.")
    database_servers: int = Field(1, ge=1, le=1_024, description="Statements that the database works on at a time.")
    worker_start_s: float = Field(
        0.0, ge=0, le=600, description="From the start of a worker process to its first claim."
    )
    memory: MemoryCosts = MemoryCosts()

    @property
    def is_free(self) -> bool:
        """Whether no operation costs anything, timers ring in time, and tasks leave no garbage."""
        operations = (self.submit, self.push, self.fetch, self.claim, self.begin, self.settle, self.reply, self.due)
        in_time = not self.timer_tick_s and not self.timer_late_s
        return in_time and not any(one.alone_s for one in operations) and not self.memory.garbage_per_task_mib


def load(name: str, base: Path | None = None) -> Profile:
    """The profile called `name` (`default`, `ideal`, `shipped`, one that `meshlab calibrate --name` has made), or the
    one in the YAML file at that path.

    Raises UsageError if there is none or if it does not fit the schema.
    """
    path = place(name, base)
    try:
        seen = path.stat()
        return _read(path, seen.st_mtime_ns, seen.st_size)
    except OSError as error:
        known = ", ".join(names())
        raise UsageError(f"profile {name!r}: no such profile or file ({error.strerror}); there are: {known}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        mend = f"; measure again with `meshlab calibrate`, or remove {path}" if path.parent == folder() else ""
        raise UsageError(f"profile {name!r} ({path}) is not a profile: {wrong}{mend}") from error
    except ValueError as error:  # no text, or no name that a file can have
        raise UsageError(f"profile {name!r} is not a profile: {error}") from error


def place(name: str, base: Path | None = None) -> Path:
    """The file of the profile with that name or path."""
    own = folder() / f"{name}.yaml" if re.fullmatch(NAME, name) else None
    if name == DEFAULT:
        return own if own is not None and own.is_file() else FOLDER / f"{SHIPPED}.yaml"
    if name in BUILT_IN:
        return FOLDER / f"{name}.yaml"
    return own if own is not None and own.is_file() else (base or Path()) / name


def names() -> list[str]:
    """The profiles that have names: those that are built in, and those that were measured here."""
    return list(dict.fromkeys([*BUILT_IN, *sorted(path.stem for path in folder().glob("*.yaml"))]))


def folder() -> Path:
    """Where this user's calibrated profiles are kept: $MESHLAB_PROFILES, else with the data of other programs."""
    if own := os.environ.get("MESHLAB_PROFILES"):
        return Path(own)
    data = os.environ.get("XDG_DATA_HOME") or Path(os.environ.get("HOME") or Path.cwd()) / ".local" / "share"
    return Path(data) / "meshlab" / "profiles"


def is_calibrated(name: str) -> bool:
    """Whether the profile of that name was measured here, or at least by this user."""
    return place(name).parent == folder()


def reserve(name: str) -> Path:
    """The file in which a profile of that name can be kept; its folder is there afterwards. Raises UsageError for a
    name that no profile can have, Unavailable if the folder cannot be made or written to.
    """
    if not re.fullmatch(NAME, name) or name in BUILT_IN[1:]:
        raise UsageError(f"--name {name!r}: give letters, digits, '-' or '_', and none of {', '.join(BUILT_IN[1:])}")
    own = folder()
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{own}: profiles cannot be kept here ({error.strerror}); {ELSEWHERE}") from error
    if not os.access(own, os.W_OK | os.X_OK):
        raise Unavailable(f"{own}: profiles cannot be kept here (no permission to write); {ELSEWHERE}")
    return own / f"{name}.yaml"


def save(profile: Profile, name: str) -> Path:
    """Keep a profile under a name. Returns its file. Raises what `reserve` raises."""
    path = reserve(name)
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(as_yaml(profile), encoding="utf-8")
    scratch.replace(path)
    return path


def as_yaml(profile: Profile) -> str:
    """The profile as the text of its file."""
    data = profile.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=140)


@lru_cache(maxsize=32)
def _read(path: Path, mtime_ns: int, size: int) -> Profile:
    """The profile in a file, as it was at that moment and of that size."""
    with path.open(encoding="utf-8") as file:
        found = yaml_source.read(file.read(SCENARIO_BYTES_MAX + 1))
    if found.problems:
        raise ValueError(f"{path}: {found.problems[0].message}")
    return Profile.model_validate(found.data)
