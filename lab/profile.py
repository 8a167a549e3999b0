"""What the machinery itself costs in the model: a measured profile, or nothing at all (`ideal`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from lab import yaml_source
from lab.errors import UsageError
from lab.limits import MIB, SCENARIO_BYTES_MAX
from lab.rules.base import Rules

FOLDER = Path(__file__).with_name("profiles")
BUILT_IN = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


class Profile(Rules):
    """Costs of the machinery, in seconds a task, and sizes of a worker process."""

    measured: str = Field(description="When, where and how these figures were measured.")
    submit_s: float = Field(0.0, ge=0, le=60, description="From a task's arrival to its committed PENDING row.")
    claim_s: float = Field(
        0.0, ge=0, le=60, description="From a free slot and a waiting task to the start of the work."
    )
    settle_s: float = Field(0.0, ge=0, le=60, description="From the end of the work to its committed verdict.")
    due_s: float = Field(0.0, ge=0, le=60, description="From the moment a retry is due to its place in the queue.")
    worker_start_s: float = Field(
        0.0, ge=0, le=600, description="From the start of a worker process to its first claim."
    )
    rss_base_mib: float = Field(0.0, ge=0, le=65_536, description="RSS of an idle worker process.")

    @property
    def rss_base_bytes(self) -> int:
        """RSS of an idle worker process in bytes."""
        return int(self.rss_base_mib * MIB)


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
