"""What the machinery itself costs in the model: a measured profile, or nothing at all (`ideal`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from lab import yaml_source
from lab.errors import UsageError
from lab.limits import MIB, SCENARIO_BYTES_MAX
from lab.rules.base import Rules

FOLDER = Path(__file__).with_name("profiles")
BUILT_IN = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


Seconds = Annotated[float, Field(ge=0, le=60)]
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

    @property
    def alone_s(self) -> float:
        """What a batch of one task takes on an idle machine."""
        return self.loop_s + self.loop_task_s + self.database_s + self.database_task_s + self.wait_s


class MemoryCosts(Rules):
    """How the RSS of a worker process behaves around the memory that its tasks hold."""

    base_mib: float = Field(0.0, ge=0, le=65_536, description="An idle worker process.")
    garbage_share: Share = Field(0.0, description="Share of an ended task's memory that lingers until a collection.")
    garbage_per_task_mib: float = Field(0.0, ge=0, le=1_024, description="Garbage that any task leaves, in MiB.")
    collect_at_mib: float = Field(64.0, ge=0, le=65_536, description="So much garbage sets off a collection.")
    kept_share: Share = Field(0.0, description="Share of collected garbage that stays with the process as free heap.")
    returned_share: Share = Field(1.0, description="Share of the free heap that a release under pressure gives back.")

    @property
    def base_bytes(self) -> int:
        """RSS of an idle worker process in bytes."""
        return int(self.base_mib * MIB)

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
    submit: Cost = Field(Cost(), description="Producer: from a task's arrival to its committed PENDING row.")
    fetch: Cost = Field(Cost(), description="Worker: from a free slot and a waiting task to the task's id in hand.")
    claim: Cost = Field(Cost(), description="Worker: from the id to the committed claim and the start of the work.")
    settle: Cost = Field(Cost(), description="Worker: from the end of the work to its committed verdict.")
    due: Cost = Field(Cost(), description="Reaper: from the moment a retry is due to its place in the queue.")
    database_servers: int = Field(1, ge=1, le=1_024, description="Statements that the database works on at a time.")
    worker_start_s: float = Field(
        0.0, ge=0, le=600, description="From the start of a worker process to its first claim."
    )
    memory: MemoryCosts = MemoryCosts()

    @property
    def is_free(self) -> bool:
        """Whether no operation costs anything, and tasks leave no garbage."""
        operations = (self.submit, self.fetch, self.claim, self.settle, self.due)
        return not any(one.alone_s for one in operations) and not self.memory.garbage_per_task_mib


def load(name: str, base: Path | None = None) -> Profile:
    """The profile called `name` (`default`, `ideal`), or the one in the YAML file at that path.

    Raises UsageError if there is none or if it does not fit the schema.
    """
    path = FOLDER / f"{name}.yaml" if name in BUILT_IN else (base or Path()) / name
    try:
        with path.open(encoding="utf-8") as file:
            found = yaml_source.read(file.read(SCENARIO_BYTES_MAX + 1))
        if found.problems:
            raise UsageError(f"profile {name!r} ({path}) is not a profile: {found.problems[0].message}")
        return Profile.model_validate(found.data)
    except OSError as error:
        known = ", ".join(BUILT_IN)
        raise UsageError(f"profile {name!r}: no such profile or file ({error.strerror}); built in: {known}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UsageError(f"profile {name!r} ({path}) is not a profile: {wrong}") from error
    except ValueError as error:  # no text, or no name that a file can have
        raise UsageError(f"profile {name!r} is not a profile: {error}") from error
